"""The plan of the stages that take another's shards: what those hold and their own ledger lacks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from cluster.chain import Task
from stages.artifacts import shardplan
from stages.artifacts.layout import Artifact
from stages.artifacts.ledger import Ledger


def incomplete(above: Ledger, ledger: Ledger) -> list[str]:
    """Shards of the stage ``above`` of which some video has no outcome here, sorted."""
    names = ["video", "shard"]
    wanted = above.table.filter(pc.not_equal(above.table["status"].cast(pa.string()), "unchanged"))
    given = _strings(wanted, names)
    have = _strings(ledger.table, ["video", "upstream"]).rename_columns(names)
    lacking = given.join(have, keys=names, join_type="left anti")
    return sorted(pc.unique(lacking["shard"]).to_pylist())


def _strings(table: pa.Table, names: Sequence[str]) -> pa.Table:
    return pa.table({name: table[name].cast(pa.string()) for name in names})


def why(tasks: Sequence[Task]) -> Counter[str]:
    """How many videos there are to do, by the reason."""
    reasons: Counter[str] = Counter()
    for task in tasks:
        reasons["to retry" if task.videos else "without a result yet"] += task.count
    return reasons


def retries(artifact: Artifact, ledger: Ledger, retry_failed: bool, record: bool) -> pa.Table:
    """The recorded retries, and with ``retry_failed`` the present rejects as one more generation."""
    while True:
        recorded = shardplan.read_retries(artifact)
        rejected = ledger.with_status("rejected")
        if not retry_failed or not rejected.num_rows:
            return recorded
        used = Counter(s.rsplit("-r", 1)[0] for s in pc.unique(recorded["shard"]).to_pylist())
        rows = [
            {"shard": f"{upstream}-r{used[upstream]:02d}", "upstream": upstream, "video": video}
            for upstream, video in sorted(
                zip(
                    rejected["upstream"].cast(pa.string()).to_pylist(),
                    rejected["video"].to_pylist(),
                    strict=True,
                )
            )
        ]
        generation = pa.Table.from_pylist(rows, schema=shardplan.RETRY_SCHEMA)
        number = len(shardplan.generations(artifact, "retry-"))
        if not record or shardplan.record(artifact, generation, number, "retry-"):
            return pa.concat_tables([recorded, generation])


def retry_tasks(level: int, planned: pa.Table, committed: Collection[str]) -> list[Task]:
    """One task per shard of retries that is not committed."""
    shards: dict[tuple[str, str], list[str]] = {}
    for row in planned.to_pylist():
        if row["shard"] not in committed:
            shards.setdefault((row["shard"], row["upstream"]), []).append(row["video"])
    return [
        Task(level, shard, upstream=upstream, videos=videos, count=len(videos))
        for (shard, upstream), videos in shards.items()
    ]
