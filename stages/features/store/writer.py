"""Writing one feature shard: a WebDataset tar with one sample per video and one member per frame and facet.

Within a video the frames of one facet of one view lie next to each other, and the facets follow one another,
so that reading some frames of one facet touches no other. The first facet of a video goes straight into the
shard; the others wait in unnamed files beside it until the video is kept.
"""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import IO

import numpy as np
import pyarrow as pa
from crc32c import crc32c

from stages.artifacts.atomic import store_errors
from stages.features.store import tar
from stages.features.store.encoding import ENCODINGS, encode
from stages.features.store.hashed_file import HashedFile
from stages.features.store.schema import (
    BANK_VIEW,
    BASE_VIEW,
    FEATURE_ROWS,
    check_video,
    check_word,
    member_name,
    npy_header,
)
from stages.stage import WrittenShard

_COPY = 1 << 20


class _Stream:
    """The members of one (view, facet) of the current video, with offsets from the stream's start."""

    def __init__(self, view: str, facet: str, shape: tuple[int, ...], spool: IO[bytes] | None) -> None:
        self.view = view
        self.facet = facet
        self.shape = shape
        self.spool = spool
        self.size = 0
        self.frames: list[int] = []
        self.pts: list[float] = []
        self.rows: list[dict[str, object]] = []


class FeatureShardWriter:
    """Implements `stages.stage.ShardWriter` for features.

    The bytes depend only on what was added and kept, in that order of videos. Memory holds the manifest's
    rows of this shard and never more than one frame's array.

    Args:
        path: the temporary file to write; created or emptied.
        shard: id of the shard, for the manifest's rows.
        encoding: ``fp16`` or ``int8`` (see `stages.features.store.encoding`).
    """

    def __init__(self, path: Path, shard: str, encoding: str = "fp16") -> None:
        if encoding not in ENCODINGS:
            raise ValueError(f"unknown encoding {encoding!r}, expected one of {ENCODINGS}")
        self._shard = shard
        self._encoding = encoding
        self._file = HashedFile(path)
        self._spools: list[IO[bytes]] = []
        self._streams: dict[tuple[str, str], _Stream] = {}
        self._video: str | None = None
        self._kept: set[str] = set()
        self._batches: list[pa.RecordBatch] = []

    def add(
        self, video: str, frame: int, pts: float, facet: str, array: np.ndarray, view: str = BASE_VIEW
    ) -> None:
        """Append one facet of one frame to the current video.

        Args:
            video: id of the video; it stays the same until `keep` or `discard`.
            frame: index of the frame in its source, rising within a facet and view.
            pts: presentation time in seconds.
            facet: what the array is: ``tokens``, ``keys``, ``cls``, …
            array: floating-point features, (N, D) or (D,), or whole numbers (`encoding.EXACT`), which are
                stored exactly; one shape and kind of numbers per video, facet and view.
            view: ``base``, or the name of an augmented view.

        Raises:
            ValueError: if one of these rules is broken, or the features are not finite in fp16.
            StoreError: if there is no room or no right to write.
        """
        stream = self._stream(video, view, facet, tuple(array.shape))
        if frame < 0 or (stream.frames and frame <= stream.frames[-1]):
            raise ValueError(f"frame {frame} of {video} ({view}/{facet}) comes after {stream.frames[-1:]}")
        try:
            members = encode(array, self._encoding)
        except ValueError as error:
            raise ValueError(f"video {video}, frame {frame}, {view}/{facet}: {error}") from error
        stream.frames.append(frame)
        stream.pts.append(pts)
        for ending, values in members:
            self._member(stream, video, frame, pts, facet + ending, values)

    def keep(self, video: str) -> None:
        """Seal the current video.

        Raises:
            ValueError: if nothing was added for it, or its facets do not have the same frames, apart from
                those of the bank of clips, which have frames of their own.
        """
        if video != self._video:
            raise ValueError(f"{video} can't be kept: nothing was added for it (current: {self._video})")
        first, *others = self._streams.values()
        for bank in (False, True):
            _refuse_other_frames(video, [s for s in self._streams.values() if (s.view == BANK_VIEW) == bank])
        rows = self._place(first, self._file.size - first.size)
        for stream in others:
            start = self._file.size
            self._append(stream)
            rows += self._place(stream, start)
        self._batches.append(pa.RecordBatch.from_pylist(rows, schema=FEATURE_ROWS))
        self._file.mark()
        self._kept.add(video)
        self._next()

    def discard(self, video: str) -> None:
        """Forget all that was added for the current video: the file is as if it had never come.

        Raises:
            ValueError: if another video is the current one.
        """
        if self._video not in (None, video):
            raise ValueError(f"{video} can't be discarded: the current video is {self._video}")
        self._file.rollback()
        self._next()

    def finish(self) -> WrittenShard:
        """Write the end of the archive, flush it to the disk and describe the shard.

        Raises:
            ValueError: if a video was neither kept nor discarded.
        """
        if self._video is not None:
            raise ValueError(f"shard {self._shard}: video {self._video} was neither kept nor discarded")
        self._file.write(tar.END)
        sha256 = self._file.finish()
        self._close_spools()
        rows = pa.Table.from_batches(self._batches, schema=FEATURE_ROWS).combine_chunks()
        return WrittenShard(self._file.path, self._file.size, sha256, rows)

    def abort(self) -> None:
        """Remove the temporary file."""
        self._close_spools()
        self._file.remove()

    def _stream(self, video: str, view: str, facet: str, shape: tuple[int, ...]) -> _Stream:
        if self._video is None:
            check_video(video)
            if video in self._kept:
                raise ValueError(f"video {video} is already in shard {self._shard}")
            self._video = video
        elif video != self._video:
            raise ValueError(f"{video} was added before {self._video} was kept or discarded")
        stream = self._streams.get((view, facet))
        if stream is None:
            check_word(view, "view")
            check_word(facet, "facet")
            stream = _Stream(view, facet, shape, self._spool() if self._streams else None)
            self._streams[view, facet] = stream
        if stream.shape != shape:
            raise ValueError(f"video {video}: {view}/{facet} is {shape} after {stream.shape}")
        return stream

    def _spool(self) -> IO[bytes]:
        """An empty unnamed file on the shard's disk: it vanishes with the process."""
        used = max(len(self._streams) - 1, 0)
        if used == len(self._spools):
            folder = self._file.path.parent
            with store_errors(folder):
                self._spools.append(tempfile.TemporaryFile(dir=folder, buffering=_COPY))  # noqa: SIM115
        return self._spools[used]

    def _member(
        self, stream: _Stream, video: str, frame: int, pts: float, facet: str, values: np.ndarray
    ) -> None:
        shape = tuple(values.shape)
        head = npy_header(values.dtype.name, shape)
        data = values.data.cast("B")
        size = len(head) + len(data)
        name = member_name(video, frame, facet, stream.view)
        parts = (tar.header(name, size), head, data, bytes(tar.padding(size)))
        for part in parts:
            self._write(stream, part)
        stream.rows.append(
            {
                "video": video,
                "frame": frame,
                "pts": pts,
                "view": stream.view,
                "facet": facet,
                "shard": self._shard,
                "offset": stream.size + tar.BLOCK,
                "size": size,
                "dtype": values.dtype.name,
                "shape": shape,
                "crc32c": crc32c(data, crc32c(head)),
            }
        )
        stream.size += sum(len(part) for part in parts)

    def _write(self, stream: _Stream, part: bytes | memoryview) -> None:
        if stream.spool is None:
            self._file.write(part)
            return
        with store_errors(self._file.path, self._file.size + stream.size + len(part)):
            stream.spool.write(part)

    def _append(self, stream: _Stream) -> None:
        """Copy a waiting stream to the end of the shard."""
        assert stream.spool is not None
        with store_errors(self._file.path, self._file.size + stream.size):
            stream.spool.seek(0)
        while chunk := stream.spool.read(_COPY):
            self._file.write(chunk)

    @staticmethod
    def _place(stream: _Stream, start: int) -> list[dict[str, object]]:
        for row in stream.rows:
            row["offset"] += start  # type: ignore[operator]
        return stream.rows

    def _next(self) -> None:
        """Be ready for another video."""
        for stream in self._streams.values():
            if stream.spool is not None:
                with store_errors(self._file.path):
                    stream.spool.seek(0)
                    stream.spool.truncate()
        self._streams = {}
        self._video = None

    def _close_spools(self) -> None:
        for spool in self._spools:
            with contextlib.suppress(OSError):  # a full disk; the file has no name and is gone anyway
                spool.close()
        self._spools = []


def _refuse_other_frames(video: str, streams: list[_Stream]) -> None:
    """Raise ValueError unless all ``streams`` have the frames of the first."""
    for stream in streams[1:]:
        first = streams[0]
        if stream.frames != first.frames or stream.pts != first.pts:
            raise ValueError(
                f"{video}: {stream.view}/{stream.facet} has other frames ({len(stream.frames)}) "
                f"than {first.view}/{first.facet} ({len(first.frames)})"
            )
