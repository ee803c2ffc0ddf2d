"""The catalog's table: one row per segment of a video."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypedDict

import pyarrow as pa

from stages.catalog.ids import source_id, video_id


class VideoRow(TypedDict):
    """One segment of a video; the rows of `CATALOG_SCHEMA`."""

    video: str
    """Id of the segment."""
    source: str
    """Id of the file or folder it is cut from."""
    uri: str
    """Path of that file or folder from the data root, its bytes percent-quoted."""
    start: int
    """First source frame, in presentation order."""
    frames: int
    """Source frames in the segment, counted by demuxing."""
    fps: float | None
    """Mean frames per second of the source; of an image folder the clock it was given, if any."""
    height: int
    """Rows as stored, before rotation."""
    width: int
    """Columns as stored, before rotation."""
    rotation: int
    """Clockwise degrees to apply for display: 0, 90, 180, 270."""
    bytes: int
    """Size of the source's content."""
    mtime: int
    """Modification time as listed, in ns since 1970; 0 for generated files."""
    digest: str
    """BLAKE2b-128 of the source's content, in hex."""
    truth: str | None
    """Where the ground truth lies, as ``rule:uri``; see `split_truth`."""


CATALOG_SCHEMA = pa.schema(
    [
        pa.field("video", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("uri", pa.string(), nullable=False),
        pa.field("start", pa.int64(), nullable=False),
        pa.field("frames", pa.int64(), nullable=False),
        pa.field("fps", pa.float64()),
        pa.field("height", pa.int32(), nullable=False),
        pa.field("width", pa.int32(), nullable=False),
        pa.field("rotation", pa.int32(), nullable=False),
        pa.field("bytes", pa.int64(), nullable=False),
        pa.field("mtime", pa.int64(), nullable=False),
        pa.field("digest", pa.string(), nullable=False),
        pa.field("truth", pa.string()),
    ]
)


def segments(frames: int, longest: int) -> Iterator[tuple[int, int]]:
    """``(start, length)`` of consecutive segments of ``longest`` frames; only the last may be shorter."""
    for start in range(0, frames, longest):
        yield start, min(longest, frames - start)


def segment_rows(whole: VideoRow, longest: int) -> Iterator[VideoRow]:
    """The rows of a source's segments, from a row that describes all of it.

    ``video`` and ``source`` are filled in; the only segment of a source carries the source's own id.
    """
    source = source_id(whole["uri"])
    cuts = list(segments(whole["frames"], longest))
    for number, (start, frames) in enumerate(cuts):
        video = video_id(whole["uri"], number if len(cuts) > 1 else None)
        yield {**whole, "video": video, "source": source, "start": start, "frames": frames}


def split_truth(truth: str) -> tuple[str, str]:
    """The rule by which ground truth is read and the uri where it lies, from the ``truth`` column.

    `stages.catalog.truth` lists the rules and reads what they name.
    """
    rule, colon, uri = truth.partition(":")
    if not colon:
        raise ValueError(f"{truth!r} is no truth entry, expected rule:uri")
    return rule, uri
