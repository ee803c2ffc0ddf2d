"""Decoding catalog rows: each one's frames, or why there are none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from stages.catalog.content import refuse_changed
from stages.catalog.ids import path_of
from stages.decode.client import DecodedVideo
from stages.decode.placing import VideoDecoder
from stages.decode.spec import DecodeRequest, DecodeSpec, Geometry
from stages.outcome import MediaError
from stages.stage import Attempts, Row


def decode_rows(
    client: VideoDecoder,
    root: str,
    rows: Sequence[Row],
    spec: DecodeSpec,
    geometry: Geometry,
    chunk: int,
    attempts: Attempts,
) -> Iterator[DecodedVideo | MediaError]:
    """The videos of catalog rows in order; decoding runs ahead of the consumer, over video borders.

    A file that is another than the catalog's is told as an error and never decoded with the old row.

    Args:
        client: decodes.
        root: the data root.
        rows: of the catalog.
        spec: sampling, cropping and resizing.
        geometry: size of the frames.
        chunk: frames per `FrameChunk`.
        attempts: of the shard.
    """
    changed = [_changed(root, row) for row in rows]
    requests = [
        DecodeRequest(
            key=row["video"],
            path=path_of(root, row["uri"]),
            start=row["start"],
            frames=row["frames"],
            clock=row["fps"],
            spec=spec,
            geometry=geometry,
            chunk=chunk,
        )
        for row, error in zip(rows, changed, strict=True)
        if error is None
    ]
    videos = client.decode(requests, attempts)
    for error in changed:
        yield next(videos) if error is None else error


def _changed(root: str, row: Row) -> MediaError | None:
    try:
        refuse_changed(root, row)
    except MediaError as error:
        return error
    return None
