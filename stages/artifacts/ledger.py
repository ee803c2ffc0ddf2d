"""The ledger: what has become of every video of an artifact, consolidated from the manifests.

``_index.parquet`` is a cache. The manifests are the truth: a ledger reads the index, then the footers of the
manifests that the index lacks. Losing the index costs time, never correctness.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from stages.artifacts import atomic, manifest
from stages.artifacts.layout import Artifact
from stages.artifacts.lineage import root
from stages.artifacts.place import Place, whole_file
from stages.catalog.ids import split_video

LEDGER_SCHEMA = pa.schema(
    [
        ("video", pa.string()),
        ("source", pa.string()),
        ("shard", pa.dictionary(pa.int32(), pa.string())),
        ("upstream", pa.dictionary(pa.int32(), pa.string())),
        ("status", pa.dictionary(pa.int32(), pa.string())),
        ("error_class", pa.dictionary(pa.int32(), pa.string())),
        ("message", pa.string()),
        ("attempts", pa.int32()),
        ("frames", pa.int64()),
        ("digest", pa.string()),
    ]
)
_SHARDS_KEY = b"tubeflow.shards"
_AT_ONCE = 64
"""Manifests read before their rows become a table: rows as dicts take fifty times the room."""
_RANK = {"unchanged": "0", "rejected": "1", "skipped": "2", "done": "3"}


@dataclass(frozen=True)
class Totals:
    """Counts over the current rows of a ledger; ``bytes`` are those of the committed shard files, without the
    ``dropped`` ones, which were removed after use."""

    done: int
    skipped: int
    rejected: int
    superseded: int
    frames: int
    shards: int
    bytes: int
    dropped: int = 0


@dataclass(frozen=True)
class Ledger:
    """The outcomes of an artifact, one row per video and committed shard (`LEDGER_SCHEMA`).

    Attributes:
        table: all rows, superseded ones included.
        shards: bytes of every committed shard file by shard id.
        fresh: shards that the index on disk lacks.
        dropped: shards that were removed after use; their videos count as before.
    """

    table: pa.Table
    shards: dict[str, int]
    fresh: int
    dropped: frozenset[str] = frozenset()

    @classmethod
    def load(cls, artifact: Artifact) -> Ledger:
        """Read the index and the manifests it lacks."""
        committed = artifact.committed()
        table, shards = _read_index(artifact.index_path)
        unlisted = sorted(set(shards).difference(committed))
        there = [shard for shard in unlisted if artifact.manifest(shard).exists()]  # a listing is a hint
        if there != unlisted:
            table, shards = LEDGER_SCHEMA.empty_table(), {}
        committed = sorted([*committed, *there])
        missing = [shard for shard in committed if shard not in shards]
        tables = [table]
        with ThreadPoolExecutor(8) as pool:
            for start in range(0, len(missing), _AT_ONCE):
                some = missing[start : start + _AT_ONCE]
                footers = [footer for footer in pool.map(lambda s: _footer(artifact, s), some) if footer]
                shards |= {footer.shard: footer.bytes for footer in footers}
                rows = [row for footer in footers for row in _rows(footer)]
                tables.append(pa.Table.from_pylist(rows, schema=LEDGER_SCHEMA))
        rows_of_all = pa.concat_tables(tables).unify_dictionaries()
        return cls(rows_of_all, shards, len(missing), frozenset(artifact.dropped() & set(shards)))

    def save(self, artifact: Artifact) -> None:
        """Write the index, if it lacks anything."""
        if not self.fresh and artifact.index_path.exists():
            return
        buffer = io.BytesIO()
        text = json.dumps(self.shards, sort_keys=True).encode()
        order = np.lexsort((_codes(self.table["shard"]), _codes(self.table["video"])))
        ordered = self.table.take(pa.array(order))
        pq.write_table(ordered.replace_schema_metadata({_SHARDS_KEY: text}), buffer, compression="zstd")
        atomic.write_bytes(artifact.index_path, buffer.getvalue())

    @cached_property
    def current(self) -> pa.Table:
        """The rows that count: of each source those made from its latest version, and of each such video
        the best outcome (a result before a skip before a reject), the latest where several are equal."""
        changed = pc.not_equal(self.table["status"].cast(pa.string()), "unchanged")
        rows = self.table if pc.all(changed).as_py() else self.table.filter(changed)
        if not rows.num_rows:
            return rows
        source = _codes(rows["source"])
        # the segments of one version of a file share a shard of the catalog, and below it may lie in several
        version = _codes(rows["upstream"], root)
        latest = np.full(source.max() + 1, -1)
        np.maximum.at(latest, source, version)
        counts = version == latest[source]
        rank = _codes(rows["status"], _RANK.__getitem__)
        video, shard = _codes(rows["video"]), _codes(rows["shard"])
        order = np.lexsort((shard, rank, video, ~counts))[: counts.sum()]
        order = order[np.append(video[order][1:] != video[order][:-1], True)]
        if len(order) == rows.num_rows and (np.diff(order) == 1).all():
            return rows  # nothing is superseded and all is sorted: no copy
        return rows.take(pa.array(order))

    def totals(self) -> Totals:
        """Counts over the current rows."""
        counts = {
            c["values"]: c["counts"]
            for c in pc.value_counts(self.current["status"].cast(pa.string())).to_pylist()
        }
        unchanged = pc.sum(pc.equal(self.table["status"].cast(pa.string()), "unchanged")).as_py() or 0
        return Totals(
            done=counts.get("done", 0),
            skipped=counts.get("skipped", 0),
            rejected=counts.get("rejected", 0),
            superseded=self.table.num_rows - self.current.num_rows - unchanged,
            frames=pc.sum(self.current["frames"]).as_py() or 0,
            shards=len(self.shards),
            bytes=sum(size for shard, size in self.shards.items() if shard not in self.dropped),
            dropped=len(self.dropped),
        )

    def with_status(self, status: str) -> pa.Table:
        """The current rows of one status."""
        return self.current.filter(pc.equal(self.current["status"].cast(pa.string()), status))

    def digest_of(self, source: str) -> str:
        """The content digest that the current rows of ``source`` were made from, or ``""``."""
        return self._digests.get(source, "")

    @cached_property
    def _digests(self) -> dict[str, str]:
        rows = self.with_status("done")
        return dict(zip(rows["source"].to_pylist(), rows["digest"].to_pylist(), strict=True))


def _codes(column: pa.ChunkedArray, key: Callable[[str], str] = str) -> np.ndarray:
    """Integers that sort like ``key`` of the strings of ``column``."""
    encoded = column.combine_chunks()
    if not pa.types.is_dictionary(encoded.type):
        encoded = encoded.dictionary_encode()
    values = encoded.dictionary
    if key is not str:
        values = pa.array([key(value) for value in values.to_pylist()], pa.string())
    ranks = np.asarray(pc.rank(values, tiebreaker="dense"))
    return ranks[np.asarray(encoded.indices)]


def _footer(artifact: Artifact, shard: str) -> manifest.Footer | None:
    """None where a listing showed a manifest that is not there (any more)."""
    try:
        return manifest.read_footer(artifact.manifest(shard))
    except FileNotFoundError:
        return None


def _rows(footer: manifest.Footer) -> list[dict[str, Any]]:
    upstream = footer.upstream or footer.shard
    return [_row(entry, footer.shard, upstream) for entry in footer.outcomes]


def _row(entry: dict[str, Any], shard: str, upstream: str) -> dict[str, Any]:
    info = entry.get("info", {})
    unchanged = entry["status"] == "skipped" and info.get("unchanged", False)
    return {
        "video": entry["video"],
        "source": split_video(entry["video"])[0],
        "shard": shard,
        "upstream": upstream,
        "status": "unchanged" if unchanged else entry["status"],
        "error_class": entry.get("error_class"),
        "message": entry.get("message", entry.get("reason")),
        "attempts": entry.get("attempts"),
        "frames": info.get("frames"),
        "digest": info.get("digest"),
    }


def _read_index(path: Place) -> tuple[pa.Table, dict[str, int]]:
    empty: tuple[pa.Table, dict[str, int]] = LEDGER_SCHEMA.empty_table(), {}
    try:
        table = pq.read_table(whole_file(path))
        shards = json.loads((table.schema.metadata or {})[_SHARDS_KEY])
    except (pa.ArrowInvalid, KeyError, OSError, ValueError):
        return empty  # a damaged cache is no cache
    if not table.schema.equals(LEDGER_SCHEMA):
        return empty
    return table.replace_schema_metadata(None), shards


def current_videos(artifact: str | Place | Artifact) -> pa.Table:
    """``video`` and ``shard`` (strings, sorted by video) of all current videos that have a result."""
    found = artifact if isinstance(artifact, Artifact) else Artifact.at(artifact)
    rows = Ledger.load(found).with_status("done")
    table = pa.table({"video": rows["video"], "shard": rows["shard"].cast(pa.string())})
    return table.sort_by("video")
