"""``--verify``: every committed shard against its manifest, and ``--repair`` of those that are damaged."""

from __future__ import annotations

import argparse
from dataclasses import dataclass

from cluster.chain import Task, tasks_below
from cluster.execute import shard_digest
from pipelines.graph import Graph
from pipelines.output import Output
from pipelines.running import finish, raise_error
from stages.artifacts import manifest, shardplan
from stages.artifacts.layout import Artifact
from stages.features.store.check import damaged_members


@dataclass(frozen=True)
class Damage:
    """A committed shard that is not what its manifest says."""

    level: int
    shard: str
    problem: str
    videos: tuple[str, ...] = ()


def verify(graph: Graph, args: argparse.Namespace, output: Output) -> int:
    """Print every damage; with ``--repair``, compute those shards again and verify once more."""
    found, checked = _check(graph)
    for damage in found:
        _say(graph, damage, output)
    repaired: list[str] = []
    if found and args.repair:
        repaired = _repair(graph, found, args, output)
        found, _ = _check(graph)
    output.say(
        f"{checked} shards checked, {len(found)} damaged"
        + (f", {len(repaired)} repaired" if repaired else "")
    )
    if found and not args.repair:
        output.say("compute them again with --verify --repair")
    output.data(
        {
            "checked": checked,
            "damaged": [{**vars(d), "path": str(_artifact(graph, d).shard(d.shard))} for d in found],
            "repaired": repaired,
        }
    )
    return 4 if found else 0


def _artifact(graph: Graph, damage: Damage) -> Artifact:
    return graph.chain[damage.level].artifact


def _say(graph: Graph, damage: Damage, output: Output) -> None:
    videos = f"; videos: {', '.join(damage.videos)}" if damage.videos else ""
    output.error(f"damaged: {_artifact(graph, damage).shard(damage.shard)}: {damage.problem}{videos}")


def _check(graph: Graph) -> tuple[list[Damage], int]:
    found, checked = [], 0
    for level, bound in enumerate(graph.chain):
        for shard in bound.artifact.committed():
            checked += 1
            damage = _check_shard(level, bound.artifact, shard)
            if damage is not None:
                found.append(damage)
    return found, checked


def _check_shard(level: int, artifact: Artifact, shard: str) -> Damage | None:
    try:
        footer = manifest.read_footer(artifact.manifest(shard))
        rows = manifest.read_rows(artifact, shard)
    except (manifest.DamagedError, OSError):
        return Damage(level, shard, f"its manifest is damaged: {artifact.manifest(shard)}")
    path = artifact.shard(shard)
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        return Damage(level, shard, "the file is missing", tuple(o["video"] for o in footer.outcomes))
    if size == footer.bytes and shard_digest(path) == footer.sha256:
        if manifest.rejects_match(artifact.rejects(shard), footer.outcomes):
            return None
        return Damage(level, shard, f"its list of rejects is damaged: {artifact.rejects(shard)}")
    problem = f"{size} bytes instead of {footer.bytes}" if size != footer.bytes else "its bytes have changed"
    videos = damaged_members(path, rows) if artifact.suffix == ".tar" else ()
    return Damage(level, shard, problem, tuple(videos))


def _repair(graph: Graph, found: list[Damage], args: argparse.Namespace, output: Output) -> list[str]:
    """Make each damaged shard again, stage by stage: a later one reads what an earlier one has repaired."""
    from pipelines.commands import make_runner

    runner = make_runner(args, graph.config)
    repaired = []
    for level in range(len(graph.chain)):
        tasks = [_task(graph, damage) for damage in found if damage.level == level]
        if not tasks:
            continue
        for receipt in runner.run(graph.chain[: level + 1], tasks, "repair"):
            if receipt.error_kind == "repair":  # the others may still be saved
                output.error(f"error: {receipt.error}")
                continue
            raise_error(receipt)
            repaired.append(str(graph.chain[level].artifact.shard(receipt.shard)))
            output.say(f"repaired: {repaired[-1]}")
        graph.chain[level].artifact.index_path.unlink(missing_ok=True)
    finish(graph, runner, complete=False)
    return repaired


def _task(graph: Graph, damage: Damage) -> Task:
    """The task that made the shard, to be done again."""
    artifact = _artifact(graph, damage)
    if damage.level == 0:
        plan = shardplan.read_plan(artifact).to_pylist()
        items = [row for row in plan if row.pop("shard") == damage.shard]
        return Task(0, damage.shard, items=items, replace=True, follow=False)
    retries = [row for row in shardplan.read_retries(artifact).to_pylist() if row["shard"] == damage.shard]
    if retries:
        videos = [row["video"] for row in retries]
        return Task(
            damage.level,
            damage.shard,
            upstream=retries[0]["upstream"],
            videos=videos,
            replace=True,
            follow=False,
        )
    upstream = damage.shard.rsplit("-", 1)[0]
    tasks = tasks_below(graph.chain, damage.level - 1, upstream, committed=True)
    task = next(task for task in tasks if task.shard == damage.shard)
    return Task(**{**vars(task), "replace": True, "follow": False})
