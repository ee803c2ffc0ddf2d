"""The plan of the stage that takes listed files: which shards its recorded plan still lacks."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cluster.chain import TableRows, Task
from stages.artifacts import shardplan
from stages.artifacts.ledger import Ledger
from stages.catalog.ids import source_id


def growth_reasons(growth: shardplan.Growth) -> list[str]:
    """Why files of a listing get a shard, in words."""
    counted = {"new": growth.new, "changed": growth.changed, "to retry": growth.retried}
    return [f"{count} file{'s' * (count != 1)} {word}" for word, count in counted.items() if count]


def rejected_uris(ledger: Ledger, listed: pa.Table) -> set[str]:
    """The listed files that are rejects at present."""
    rejected = set(ledger.with_status("rejected")["source"].to_pylist())
    return {uri for uri in listed["uri"].to_pylist() if source_id(uri) in rejected} if rejected else set()


def first_tasks(plan: pa.Table, committed: Collection[str], listed: pa.Table) -> list[Task]:
    """One task per recorded shard that is not committed and holds a listed file.

    The tasks hold slices of ``plan``: a million items as dicts would take ten times the room.
    """
    left = plan.filter(pc.invert(pc.is_in(plan["shard"], pa.array(sorted(committed), pa.string()))))
    if not left.num_rows:
        return []
    there = np.asarray(pc.is_in(left["uri"], listed["uri"]))
    shards = left["shard"].combine_chunks().dictionary_encode()
    changes = np.flatnonzero(np.diff(shards.indices.to_numpy())) + 1
    starts, stops = [0, *changes.tolist()], [*changes.tolist(), left.num_rows]
    names = shards.dictionary.take(shards.indices.take(pa.array(starts))).to_pylist()
    items = left.drop_columns(["shard"]).combine_chunks()
    return [
        Task(0, name, items=TableRows(items, start, stop), count=stop - start)
        for name, start, stop in zip(names, starts, stops, strict=True)
        if there[start:stop].any()
    ]
