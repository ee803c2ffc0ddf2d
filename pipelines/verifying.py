"""``--verify``: every committed shard against its manifest, and ``--repair`` of those that are damaged."""

from __future__ import annotations

import argparse
import contextlib
from dataclasses import dataclass

from cluster.execute import shard_digest
from pipelines.dropping import Dropper, behind, needed_again
from pipelines.graph import Graph
from pipelines.output import Output
from pipelines.remaking import task_again
from pipelines.running import Runner, finish, raise_error
from pipelines.runs import RunRecord
from pipelines.sharing import Held, wait_for_any, works_on
from stages.artifacts import manifest
from stages.artifacts.layout import Artifact
from stages.artifacts.ledger import Ledger
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
        dropped = bound.artifact.dropped()
        for shard in bound.artifact.committed():
            checked += 1
            damage = _check_shard(level, bound.artifact, shard, shard in dropped)
            if damage is not None:
                found.append(damage)
    return found, checked


def _check_shard(level: int, artifact: Artifact, shard: str, dropped: bool) -> Damage | None:
    """What is wrong with a shard; of one that was dropped after use only manifest and rejects are there."""
    try:
        footer = manifest.read_footer(artifact.manifest(shard))
        rows = manifest.read_rows(artifact, shard)
    except (manifest.DamagedError, OSError):
        return Damage(level, shard, f"its manifest is damaged: {artifact.manifest(shard)}")
    path = artifact.shard(shard)
    try:
        size = footer.bytes if dropped else path.stat().st_size
    except FileNotFoundError:
        return Damage(level, shard, "the file is missing", tuple(o["video"] for o in footer.outcomes))
    if dropped or (size == footer.bytes and shard_digest(path) == footer.sha256):
        if manifest.rejects_match(artifact.rejects(shard), footer.outcomes):
            return None
        return Damage(level, shard, f"its list of rejects is damaged: {artifact.rejects(shard)}")
    problem = f"{size} bytes instead of {footer.bytes}" if size != footer.bytes else "its bytes have changed"
    videos = damaged_members(path, rows) if artifact.suffix == ".tar" else ()
    return Damage(level, shard, problem, tuple(videos))


def _repair(graph: Graph, found: list[Damage], args: argparse.Namespace, output: Output) -> list[str]:
    """Make each damaged shard again, stage by stage: a later one reads what an earlier one has repaired."""
    from pipelines.commands import make_runner

    runner = make_runner(args, graph.config, output.error)
    record = RunRecord(graph.store, graph.config, works_on(graph))
    repaired: list[str] = []
    state, code = "failed", 1
    try:
        with contextlib.closing(runner):
            for level in range(len(graph.chain)):
                shards = [damage.shard for damage in found if damage.level == level]
                while shards:
                    shards = _repair_level(graph, level, shards, runner, record.id, repaired, output)
            finish(graph, runner, complete=False)
        state, code = "finished", 0
    except KeyboardInterrupt:
        state, code = "interrupted", 130
        raise
    finally:
        record.close(state, code)
    Dropper(graph, record.id).sweep()
    return repaired


def _repair_level(
    graph: Graph,
    level: int,
    shards: list[str],
    runner: Runner,
    run_id: str,
    repaired: list[str],
    output: Output,
) -> list[str]:
    """Make ``shards`` of a stage again; returns those that are left because other runs were at them."""
    chain = graph.chain[: level + 1]
    tasks = [task_again(graph.chain, level, shard) for shard in shards]
    ledgers = [Ledger.load(bound.artifact) for bound in graph.chain]
    tasks = behind(graph.chain, tasks, needed_again(graph, ledgers, tasks))
    artifact, held, left = graph.chain[level].artifact, [], set(shards)
    for receipt in runner.run(chain, tasks, run_id):
        if receipt.held:
            held.append(Held.of(receipt))
            continue
        if receipt.level == level:
            left.discard(receipt.shard)
        if receipt.error_kind == "repair":  # the others may still be saved
            output.error(f"error: {receipt.error}")
            continue
        raise_error(receipt)
        if receipt.level < level:  # dropped after use, and needed for the repair
            continue
        repaired.append(str(artifact.shard(receipt.shard)))
        output.say(f"repaired: {repaired[-1]}")
    artifact.index_path.unlink(missing_ok=True)
    if not held:
        return []
    wait_for_any(chain, held, run_id, output.error)
    dropped = artifact.dropped()
    return [
        shard for shard in shards if shard in left and _check_shard(level, artifact, shard, shard in dropped)
    ]
