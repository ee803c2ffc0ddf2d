"""A decoder that gives five frames of ``b.mp4`` and then dies; other files are decoded as usual."""

import os
from collections.abc import Iterator, Sequence

from stages.decode.decoders.pyav_ import PyAVDecoder


class DyingDecoder(PyAVDecoder):
    def pictures(self, wanted: Sequence[int], size=None) -> Iterator:
        for n, picture in enumerate(super().pictures(wanted, size)):
            if n == 5 and self._path.endswith("b.mp4"):
                os._exit(11)
            yield picture
