"""The task that made a committed shard, to be done again: for a repair, or where it was dropped after use."""

from __future__ import annotations

from dataclasses import replace

from cluster.chain import Chain, Task, tasks_below
from stages.artifacts import shardplan


def task_again(chain: Chain, level: int, shard: str) -> Task:
    """The task that makes ``shard`` of stage ``level`` from the same items, and nothing after it."""
    artifact = chain[level].artifact
    if level == 0:
        plan = shardplan.read_plan(artifact).to_pylist()
        items = [row for row in plan if row.pop("shard") == shard]
        return Task(0, shard, items=items, replace=True, follow=False)
    retries = [row for row in shardplan.read_retries(artifact).to_pylist() if row["shard"] == shard]
    if retries:
        videos = [row["video"] for row in retries]
        upstream = retries[0]["upstream"]
        return Task(level, shard, upstream=upstream, videos=videos, replace=True, follow=False)
    tasks = tasks_below(chain, level - 1, shard.rsplit("-", 1)[0], committed=True)
    task = next(task for task in tasks if task.shard == shard)
    return replace(task, replace=True, follow=False)
