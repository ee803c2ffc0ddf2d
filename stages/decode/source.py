"""One source opened in a decoder child: from a request to output frames, chunk by chunk."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from stages.decode.classify import check_source, media_error
from stages.decode.decoders.base import Decoder, Picture, SourceKind, decoder_class
from stages.decode.demux import Tick
from stages.decode.frames import FrameChunk, Probe
from stages.decode.image_files import is_image
from stages.decode.names import file_of, split_record
from stages.decode.resize import RESIZERS, Box, find_borders, prepare
from stages.decode.spec import DecodeRequest

_NO_BOX: Box = (0, 0, 0, 0)


class Source:
    """A source with its decoder, kept as long as segments of the same source follow each other."""

    def __init__(self, path: str, decoder: str, clock: float | None, tick: Tick) -> None:
        self.identity = identity(path, decoder, clock)
        self.decoder: Decoder = decoder_class(decoder, source_kind(path))(path, clock, tick)
        self._path = path
        self._first: tuple[tuple[int, int], Box] | None = None

    def _layout(self) -> tuple[tuple[int, int], Box]:
        """(height, width) of the upright first frame, and its borders."""
        if self._first is None:
            first = self.decoder.first()
            self._first = (first.shape[0], first.shape[1]), find_borders(first)
        return self._first

    def chunks(self, request: DecodeRequest) -> Iterator[FrameChunk]:
        """The sampled frames of ``request``; memory holds one chunk of them."""
        timeline = self.decoder.timeline()
        wanted = timeline.sample(request.spec, request.start, request.frames)
        if request.start >= len(timeline):
            what = f"has {len(timeline)} frames and no frame {request.start}: list it again"
            raise media_error(self._path, "no_frames", what)
        if not len(wanted):
            return
        native, box = self._layout()
        if request.spec.crop == "none":
            box = _NO_BOX
        kept = native[0] - box[0] - box[1], native[1] - box[2] - box[3]
        size = request.geometry.resolve(*kept)
        scaled = size if request.spec.resizer == "decoder" and not any(box) and size != kept else None
        pictures = self.decoder.pictures([int(i) for i in wanted], scaled)
        resizer = RESIZERS[request.spec.resizer]
        for at in range(0, len(wanted), request.chunk):
            index = wanted[at : at + request.chunk]
            rgb = np.empty((len(index), *size, 3), np.uint8)
            for row in rgb:
                row[:] = prepare(self._next(pictures, len(timeline)), native, box, size, resizer)
            yield FrameChunk(index, timeline.seconds(index), rgb)

    def outline(self, request: DecodeRequest) -> dict[str, list[int]]:
        """``native``: (height, width) of the upright picture; ``borders``: what was cropped off its four
        sides.

        Empty where no frame was asked for, since then no picture was decoded.
        """
        if self._first is None:
            return {}
        native, box = self._first
        return {"native": list(native), "borders": list(_NO_BOX if request.spec.crop == "none" else box)}

    def _next(self, pictures: Iterator[Picture], total: int) -> Picture:
        """The next picture of a decoder, which may not end before its time."""
        picture = next(pictures, None)
        if picture is None:
            raise media_error(self._path, "decode_error", f"the decoder gave fewer frames than {total}")
        return picture


def probe(path: str, tick: Tick) -> Probe:
    """What the file, image, folder of images or record at ``path`` holds.

    Raises:
        MediaError: if it can't be a result.
    """
    kind = source_kind(path)
    return decoder_class("pyav" if kind == "file" else "auto", kind)(path, None, tick).probe()


def source_kind(path: str) -> SourceKind:
    """What ``path`` is, so that its decoder can be chosen; looks, and reads nothing.

    Raises:
        MediaError: see `check_source`.
    """
    if check_source(path):
        return "folder"
    if split_record(path) is not None:
        return "record"
    return "image" if is_image(path) else "file"


def identity(path: str, decoder: str, clock: float | None) -> tuple[Any, ...]:
    """What must be equal for an opened source to be used again."""
    try:
        found = Path(file_of(path)).stat()
    except OSError:
        return (path, decoder, clock, None)
    return (path, decoder, clock, found.st_ino, found.st_size, found.st_mtime_ns)
