"""Building the reader's index from the manifests: one row per video, without ever holding them all.

Two Arrow IPC files, read through memory maps (`stages.features.store.index`):

* ``<name>.entries.arrow``: one row per video in the order of shards (`ENTRIES`), in batches;
* ``<name>.lookup.arrow``: the videos sorted, and where the row of each is (`LOOKUP`). Its metadata lists the
  shards and the kinds of members, which the entries name by number. Written last: the index exists with it.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stages.artifacts import atomic
from stages.artifacts.layout import Artifact
from stages.artifacts.ledger import current_videos
from stages.artifacts.manifest import read_rows
from stages.features.store.schema import BANK_VIEW

ENTRIES = pa.schema(
    [
        ("shard", pa.int32()),
        ("length", pa.int32()),  # frames of the video; those of its bank of clips follow in the lists
        ("frame", pa.list_(pa.int64())),
        ("pts", pa.list_(pa.float64())),
        ("stream", pa.list_(pa.int32())),
        ("offset", pa.list_(pa.int64())),  # stream by stream, each with as many values as it has frames
        ("crc32c", pa.list_(pa.uint32())),  # likewise
    ]
)
LOOKUP = pa.schema([("video", pa.large_string()), ("batch", pa.int32()), ("row", pa.int32())])
METADATA_KEY = b"tubeflow"

_BATCH_VIDEOS = 4096
_BATCH_MEMBERS = 1 << 20


@dataclass(frozen=True)
class Stream:
    """Members that are alike in all but video and frame: ``size`` bytes each, .npy header included."""

    view: str
    facet: str
    dtype: str
    shape: tuple[int, ...]
    size: int


@dataclass
class _Batch:
    """Rows of the entries in the making; lists of one array per video."""

    shard: list[int] = field(default_factory=list)
    length: list[int] = field(default_factory=list)
    frame: list[np.ndarray] = field(default_factory=list)
    pts: list[np.ndarray] = field(default_factory=list)
    stream: list[list[int]] = field(default_factory=list)
    offset: list[np.ndarray] = field(default_factory=list)
    crc32c: list[np.ndarray] = field(default_factory=list)
    members: int = 0

    def full(self) -> bool:
        return len(self.shard) >= _BATCH_VIDEOS or self.members >= _BATCH_MEMBERS

    def record(self) -> pa.RecordBatch:
        columns = [pa.array(self.shard, pa.int32()), pa.array(self.length, pa.int32())]
        for name in ENTRIES.names[2:]:
            parts = [np.asarray(part) for part in getattr(self, name)]
            at = np.concatenate([[0], np.cumsum([len(p) for p in parts])]).astype(np.int32)
            values = pa.array(np.concatenate(parts), ENTRIES.field(name).type.value_type)
            columns.append(pa.ListArray.from_arrays(pa.array(at), values))
        return pa.RecordBatch.from_arrays(columns, schema=ENTRIES)


def build(artifact: Artifact, folder: Path, name: str) -> Path:
    """Write the index ``name`` of ``artifact`` into ``folder`` and return its lookup file.

    Raises:
        ValueError: if a manifest lacks a video that the ledger ascribes to it, or is damaged.
        StoreError: if ``folder`` can't be written.
    """
    current = current_videos(artifact).combine_chunks()
    videos = current["video"].combine_chunks() if current.num_rows else pa.array([], pa.string())
    at_batch, at_row = np.zeros(len(videos), np.int32), np.zeros(len(videos), np.int32)
    shards: list[str] = []
    streams: dict[Stream, int] = {}
    entries, lookup = folder / f"{name}.entries.arrow", folder / f"{name}.lookup.arrow"
    with _file(entries, ENTRIES) as file:
        batch, number = _Batch(), 0
        for shard, places in _by_shard(current):
            first = len(batch.shard)
            _add_shard(batch, artifact, shard, len(shards), videos.take(pa.array(places)), streams)
            at_batch[places], at_row[places] = number, first + np.arange(len(places))
            shards.append(artifact.shard_name(shard))
            if batch.full():
                file.write_batch(batch.record())
                batch, number = _Batch(), number + 1
        if batch.shard:
            file.write_batch(batch.record())
    columns = [videos.cast(pa.large_string()), pa.array(at_batch), pa.array(at_row)]
    metadata = json.dumps({"shards": shards, "streams": [asdict(s) for s in streams]})
    schema = LOOKUP.with_metadata({METADATA_KEY: metadata.encode()})
    with _file(lookup, schema) as file:
        file.write_batch(pa.RecordBatch.from_arrays(columns, schema=schema))
    return lookup


@contextlib.contextmanager
def _file(path: Path, schema: pa.Schema) -> Iterator[pa.RecordBatchFileWriter]:
    """An Arrow IPC file that gets its name when it is complete, and leaves nothing behind otherwise."""
    temp = atomic.temp_path(path)
    with atomic.store_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with pa.OSFile(str(temp), "wb") as sink, pa.ipc.new_file(sink, schema) as file:
                yield file
        except BaseException:
            temp.unlink(missing_ok=True)
            raise
    atomic.publish(temp, path)


def _by_shard(current: pa.Table) -> Iterator[tuple[str, np.ndarray]]:
    """Each shard with the rows of ``current`` that lie in it, rising."""
    if not current.num_rows:
        return
    coded = current["shard"].combine_chunks().dictionary_encode()
    codes = coded.indices.to_numpy()
    order = np.argsort(codes, kind="stable")
    cuts = np.flatnonzero(np.diff(codes[order])) + 1
    parts = {coded.dictionary[int(codes[part[0]])].as_py(): part for part in np.split(order, cuts)}
    yield from sorted(parts.items())


def _add_shard(
    batch: _Batch, artifact: Artifact, shard: str, number: int, videos: pa.Array, streams: dict[Stream, int]
) -> None:
    """Append the rows of the current ``videos`` (sorted) of one shard."""
    try:
        rows = read_rows(artifact, shard)
    except OSError as error:  # not to be taken for a failure to write the index
        raise ValueError(f"{artifact.manifest(shard)} can't be read: {error}") from error
    rows = rows.filter(pc.is_in(rows["video"], value_set=videos))
    rows = rows.sort_by([(key, "ascending") for key in ("video", "view", "facet", "frame")]).combine_chunks()
    starts = _run_starts(rows)
    heads = rows.take(pa.array(starts)).to_pylist()
    frame, pts, offset, crc = (rows[c].to_numpy() for c in ("frame", "pts", "offset", "crc32c"))
    runs: dict[str, list[tuple[int, int, int]]] = {}
    for head, a, b in zip(heads, starts, np.append(starts, rows.num_rows)[1:], strict=True):
        kind = Stream(head["view"], head["facet"], head["dtype"], tuple(head["shape"]), head["size"])
        runs.setdefault(head["video"], []).append((streams.setdefault(kind, len(streams)), a, b))
    banks = {code for kind, code in streams.items() if kind.view == BANK_VIEW}
    for video in videos.to_pylist():
        if video not in runs:
            raise ValueError(
                f"{artifact.manifest(shard)} has no rows for video {video}, which the ledger finds there: "
                "run the recipe with --verify --repair"
            )
        frames, lists = _frame_lists(runs[video], banks)
        batch.shard.append(number)
        batch.length.append(frames)
        batch.frame.append(np.concatenate([frame[a:b] for a, b in lists]))
        batch.pts.append(np.concatenate([pts[a:b] for a, b in lists]))
        batch.stream.append([code for code, _, _ in runs[video]])
        batch.offset.append(np.concatenate([offset[i:j] for _, i, j in runs[video]]))
        batch.crc32c.append(np.concatenate([crc[i:j] for _, i, j in runs[video]]))
        batch.members += len(batch.offset[-1])


def _frame_lists(runs: list[tuple[int, int, int]], banks: set[int]) -> tuple[int, list[tuple[int, int]]]:
    """How many frames a video has, and the rows of its lists of frames: its own, and its bank's if it has
    one.

    Args:
        runs: number of the stream, first row and the one after the last, of every stream.
        banks: numbers of the streams that are of a bank.
    """
    own = [(a, b) for code, a, b in runs if code not in banks][:1]
    bank = [(a, b) for code, a, b in runs if code in banks][:1]
    return sum(b - a for a, b in own), own + bank


def _run_starts(rows: pa.Table) -> np.ndarray:
    """Where a new (video, view, facet) begins in the sorted ``rows``."""
    if not rows.num_rows:
        return np.zeros(0, np.int64)
    new = np.zeros(rows.num_rows, bool)
    new[0] = True
    for name in ("video", "view", "facet"):
        codes = rows[name].combine_chunks().dictionary_encode().indices.to_numpy()
        new[1:] |= codes[1:] != codes[:-1]
    return np.flatnonzero(new)
