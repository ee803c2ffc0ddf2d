"""Examples of TFRecord files as videos."""

from __future__ import annotations

from io import BytesIO

from stages.catalog.movi_e import FRAMES
from stages.catalog.tfrecord import parse_example, read_record
from stages.decode.classify import media_error
from stages.decode.decoders.base import Picture
from stages.decode.decoders.images import IMAGE_ERRORS, StillsDecoder, read_image
from stages.decode.demux import Tick


class TFRecordDecoder(StillsDecoder):
    """The frames of one example (``<file>#<offset>``), kept compressed in memory while it is open."""

    used = "tfrecord"

    def __init__(self, path: str, clock: float | None, tick: Tick) -> None:
        super().__init__(path, clock, tick)
        self._frames: list[bytes] = []

    def _images(self) -> list[bytes]:
        if not self._frames:
            self._tick()
            self._frames = frames_of(self._path)
        return self._frames

    def _count(self) -> int:
        return len(self._images())

    def _read(self, index: int) -> Picture:
        try:
            return read_image(BytesIO(self._images()[index]))
        except IMAGE_ERRORS as error:
            what = f"the image of frame {index} is broken: download the file again or take the example out"
            raise media_error(self._path, "decode_error", what) from error


def frames_of(path: str) -> list[bytes]:
    """The compressed frames of the example ``path``, at least one.

    Raises:
        MediaError: ``no_video_stream`` or ``no_frames``, or what `read_record` and `parse_example` say.
    """
    features = parse_example(read_record(path), path)
    if FRAMES not in features:
        has = ", ".join(sorted(features)) or "no features"
        what = f"the example has no feature {FRAMES!r} (it has {has}): is this file of the data set?"
        raise media_error(path, "no_video_stream", what)
    if not features[FRAMES]:
        raise media_error(path, "no_frames", f"the feature {FRAMES!r} holds no image")
    return features[FRAMES]
