"""The memory-mapped index of a feature store: where the frames of every video lie.

Nothing but the batches' views and one descriptor per kind of member is held in memory; the rest is pages of
the files, which the system drops when it needs room.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from stages.features.store.index_build import METADATA_KEY, Stream
from stages.features.store.schema import BANK_VIEW


class Entry(NamedTuple):
    """One video: its shard, how many frames it and its bank of clips have, and where its values lie in the
    batch.
    """

    shard: str
    length: int
    banked: int
    frame_at: int
    streams: list[Stream]
    member_at: int
    batch: _Batch

    def count(self, view: str) -> int:
        """How many frames there are in ``view``."""
        return self.banked if view == BANK_VIEW else self.length

    def frames(self, view: str) -> tuple[np.ndarray, np.ndarray]:
        """Indices int64 (n,) and presentation times float64 (n,) in seconds of the frames of ``view``."""
        a = self.frame_at + (self.length if view == BANK_VIEW else 0)
        b = a + self.count(view)
        return self.batch.frame[a:b].copy(), self.batch.pts[a:b].copy()

    def members(self, number: int) -> tuple[memoryview, memoryview]:
        """Where the members of stream ``number`` begin in the shard, in bytes, and their CRC-32C, frame by
        frame.
        """
        a = self.member_at + sum(self.count(stream.view) for stream in self.streams[:number])
        b = a + self.count(self.streams[number].view)
        return self.batch.offset[a:b], self.batch.crc32c[a:b]


class _Batch:
    """Plain views of one record batch: plain memory views answer single values several times faster."""

    def __init__(self, record: pa.RecordBatch) -> None:
        self._record = record  # the views point into it
        self.shard = record.column("shard").to_numpy().data
        self.frame_at, self.frame = _list(record, "frame")
        if "length" in record.schema.names:
            self.length = record.column("length").to_numpy().data
        else:  # an index made before there were banks of clips
            self.length = np.diff(np.asarray(self.frame_at)).astype(np.int32).data
        _, self.pts = _list(record, "pts")
        self.stream_at, streams = _list(record, "stream")
        self.member_at, offsets = _list(record, "offset")
        _, checksums = _list(record, "crc32c")
        self.stream = streams.data
        self.offset = offsets.data
        self.crc32c = checksums.data


def _list(record: pa.RecordBatch, name: str) -> tuple[memoryview, np.ndarray]:
    column = record.column(name)
    return column.offsets.to_numpy().data, column.values.to_numpy()


class Index:
    """Opens the index whose lookup file is ``path``.

    Raises:
        FileNotFoundError: if there is none.
        ValueError, OSError: if a file of it is damaged (`pyarrow.ArrowInvalid` is a ValueError).
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        lookup = pa.ipc.open_file(pa.memory_map(str(path)))
        try:
            metadata = json.loads(lookup.schema.metadata[METADATA_KEY])
        except (KeyError, TypeError) as error:
            raise ValueError(f"{path} is no index of features") from error
        self.shards: list[str] = metadata["shards"]
        self.streams = [Stream(**{**s, "shape": tuple(s["shape"])}) for s in metadata["streams"]]
        self._record = lookup.get_batch(0)
        video = self._record.column("video")
        self._at = np.frombuffer(video.buffers()[1] or bytes(8), np.int64, len(video) + 1).data
        self._text = memoryview(video.buffers()[2] or b"")
        self._batch_of = self._record.column("batch").to_numpy().data
        self._row_of = self._record.column("row").to_numpy().data
        entries = path.with_name(path.name.replace(".lookup.", ".entries."))
        self._file = pa.ipc.open_file(pa.memory_map(str(entries)))
        self._batches: list[_Batch | None] = [None] * self._file.num_record_batches

    def __len__(self) -> int:
        return len(self._row_of)

    def video(self, i: int) -> str:
        """The ``i``-th video in sorted order."""
        return str(self._text[self._at[i] : self._at[i + 1]], "utf-8")

    def position(self, video: str) -> int:
        """How many videos sort before ``video`` (by the bytes of their ids)."""
        key, low, high = video.encode(), 0, len(self)
        at, text = self._at, self._text
        while low < high:
            middle = (low + high) // 2
            if bytes(text[at[middle] : at[middle + 1]]) < key:
                low = middle + 1
            else:
                high = middle
        return low

    def find(self, video: str) -> int | None:
        """The place of ``video`` in sorted order, or None."""
        i = self.position(video)
        return i if i < len(self) and self.video(i) == video else None

    def entry(self, i: int) -> Entry:
        """What is known about the ``i``-th video."""
        batch, row = self._batch(self._batch_of[i]), self._row_of[i]
        first = batch.frame_at[row]
        codes = batch.stream[batch.stream_at[row] : batch.stream_at[row + 1]]
        length = batch.length[row]
        return Entry(
            self.shards[batch.shard[row]],
            length,
            batch.frame_at[row + 1] - first - length,
            first,
            [self.streams[code] for code in codes],
            batch.member_at[row],
            batch,
        )

    def counts(self, view: str) -> np.ndarray:
        """Frames per video in ``view``, int64 (V,), in sorted order."""
        batches = [self._batch(b) for b in range(len(self._batches))]
        per_batch = [np.asarray(batch.length) for batch in batches]
        if view == BANK_VIEW:
            per_batch = [
                np.diff(np.asarray(batch.frame_at)) - own
                for batch, own in zip(batches, per_batch, strict=True)
            ]
        if not per_batch:
            return np.zeros(0, np.int64)
        starts = np.concatenate([[0], np.cumsum([len(n) for n in per_batch])])
        rows = starts[np.asarray(self._batch_of)] + np.asarray(self._row_of)
        return np.concatenate(per_batch)[rows].astype(np.int64)

    def _batch(self, number: int) -> _Batch:
        batch = self._batches[number]
        if batch is None:
            batch = self._batches[number] = _Batch(self._file.get_batch(number))
        return batch
