"""decord: given the lead by ``auto``, and trusted with no frame that PyAV has not proven.

decord decodes in a thread of its own, hides the times of what it has decoded, conceals damage with pixels
of the frame before, and repeats that frame where an edit list cuts. Its count of recovered frames
(``fault_tol``) sees only some of it. So every picture it gives is sent on only after PyAV has decoded the
packets of the same frame intact at the frame's presentation time.

It also has no bound on how far it decodes ahead: whenever its thread falls behind, the caller pushes more
packets, and all of them become pictures in memory. So ``auto`` gives it only files small enough for that.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from stages.decode.classify import media_error
from stages.decode.decoders.base import Picture
from stages.decode.decoders.pyav_ import PyAVDecoder
from stages.decode.demux import Tick
from stages.decode.timeline import Timeline
from stages.outcome import MediaError

TOLERANCE = 2.0
"""Mean absolute difference of 8-bit values up to which decord's first picture agrees with PyAV's."""

AHEAD_BYTES = 1 << 30
"""``auto`` leaves a file to PyAV if all its pictures together would take more than this."""


class DecordFailedError(Exception):
    """decord gave up, or gave something else than asked for."""


class Reader:
    """decord's reader of one file: strictly forward from one accurate seek on."""

    def __init__(self, path: str, timeline: Timeline, size: tuple[int, int] | None) -> None:
        import decord

        decord.logging.set_level(decord.logging.QUIET)
        self._errors: tuple[type[Exception], ...] = (
            decord.DECORDError,
            decord.DECORDLimitReachedError,
            StopIteration,
            IndexError,
            ValueError,
            RuntimeError,
        )
        height, width = size or (-1, -1)
        try:
            self._reader: Any = decord.VideoReader(
                path, num_threads=1, fault_tol=1, width=width, height=height
            )
            self._check_times(timeline)
        except self._errors as error:
            raise DecordFailedError(_first_line(error)) from error
        self._next = 0

    def _check_times(self, timeline: Timeline) -> None:
        if timeline.by_order or timeline.tick is None or len(self._reader) != len(timeline):
            raise DecordFailedError("its frames are not those of the demuxed stream")
        told = self._reader.get_frame_timestamp(range(len(timeline)))[:, 0].astype(np.float64)
        known = timeline.seconds(np.arange(len(timeline)))
        gap = float(np.diff(known).min()) if len(known) > 1 else float(timeline.tick)
        # one stream may start at another zero than the container; what counts is the order of the frames
        if np.abs((told - told[0]) - (known - known[0])).max() > gap / 2:
            raise DecordFailedError("its presentation times are not those of the demuxed stream")

    def picture(self, index: int) -> Picture:
        """The frame ``index``, which is not before the one asked for last.

        Raises:
            DecordFailedError: if decord can't give it.
        """
        try:
            if self._next == 0 and index > 0:
                self._reader.seek_accurate(index)
            elif index > self._next:
                self._reader.skip_frames(index - self._next)
            self._next = index + 1
            return self._reader.next().asnumpy()
        except self._errors as error:
            raise DecordFailedError(_first_line(error)) from error


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0]


class AutoDecoder:
    """decord where it agrees with the demuxed stream and with PyAV, PyAV elsewhere; see `Decoder`."""

    ahead_bytes: float = AHEAD_BYTES

    def __init__(self, path: str, clock: float | None, tick: Tick) -> None:
        self._path = path
        self._pyav = PyAVDecoder(path, clock, tick)
        self.used = "pyav"

    def timeline(self) -> Timeline:
        """See `Decoder.timeline`."""
        return self._pyav.timeline()

    def first(self) -> Picture:
        """See `Decoder.first`."""
        return self._pyav.first()

    def close(self) -> None:
        """See `Decoder.close`."""
        self._pyav.close()

    def pictures(self, wanted: Sequence[int], size: tuple[int, int] | None = None) -> Iterator[Picture]:
        """See `Decoder.pictures`. If decord fails in the middle, PyAV goes on with the frame after."""
        given = 0
        try:
            self.used = "decord"
            for picture in self._proven(wanted, size):
                yield picture
                given += 1
        except (DecordFailedError, ImportError) as error:
            self.used = "pyav"
            yield from self._instead(wanted[given:], size, error)

    def _proven(self, wanted: Sequence[int], size: tuple[int, int] | None) -> Iterator[Picture]:
        if not len(wanted):
            return
        first = next(self._pyav.pictures(wanted[:1], size))
        if first.nbytes * len(self.timeline()) > self.ahead_bytes:
            raise DecordFailedError("its decoding ahead could take too much memory")
        reader = Reader(self._path, self.timeline(), size)
        for index, _ in self._pyav.frames(wanted, proof=True):
            picture = reader.picture(index)
            if index == wanted[0] and not _agree(picture, first):
                raise DecordFailedError("its first picture differs from PyAV's")
            if picture.shape != first.shape:
                raise DecordFailedError("the size of its pictures changes")
            yield picture

    def _instead(
        self, wanted: Sequence[int], size: tuple[int, int] | None, error: Exception
    ) -> Iterator[Picture]:
        yield from self._pyav.pictures(wanted, size)


class DecordDecoder(AutoDecoder):
    """decord or nothing: where it fails, the video is rejected."""

    ahead_bytes = math.inf

    def _instead(
        self, wanted: Sequence[int], size: tuple[int, int] | None, error: Exception
    ) -> Iterator[Picture]:
        self.used = "decord"
        # damage is PyAV's to name; what is left is decord's own inability
        for _ in self._pyav.frames(wanted, proof=True):
            pass
        raise self._unable() from error
        yield  # the others are generators too

    def _unable(self) -> MediaError:
        return media_error(self._path, "decode_error", "decord can't decode it: use decode.decoder=auto")


def _agree(one: Picture, other: Picture) -> bool:
    if one.shape != other.shape:
        return False
    return float(np.abs(one.astype(np.int16) - other.astype(np.int16)).mean()) <= TOLERANCE
