"""What is cached, what must run, and why. Imports neither torch nor ray, and starts nothing."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cluster.chain import Task, tasks_below
from cluster.resources import free_bytes
from pipelines.dropping import TRANSIENT, behind, needed_again, transient_level
from pipelines.graph import BoundWhole, Graph, describe_stage
from pipelines.reasons import new_artifact_reason
from stages.artifacts import atomic, shardplan, whole
from stages.artifacts.layout import Artifact, start
from stages.artifacts.ledger import Ledger
from stages.artifacts.place import Place
from stages.catalog.ids import source_id
from stages.catalog.listing import dataset_class, list_items, truth_rule
from stages.catalog.stage import CatalogStage
from stages.evaluation.fitting import refuse_unfit
from stages.evaluation.scores_stage import ScoresStage
from stages.stage import Row


@dataclass
class StagePlan:
    """The state of one stage.

    Attributes:
        cached, skipped, rejected, superseded: videos by outcome so far.
        todo: videos (files, for a catalog) to do; None while it depends on a stage that has to run first.
        frames, bytes: estimates of what will be written; None where unknown.
        reasons: why something has to be done, in words.
    """

    kind: str
    folder: Place
    cached: int = 0
    skipped: int = 0
    rejected: int = 0
    superseded: int = 0
    todo: int | None = 0
    frames: int | None = 0
    bytes: int | None = 0
    reasons: list[str] = field(default_factory=list)


@dataclass
class Plan:
    """The plan of a recipe: one entry per stage, and the tasks a run would begin with."""

    graph: Graph
    stages: list[StagePlan]
    tasks: list[Task]
    listed: int
    gone: int
    free: int | None

    @property
    def chain(self) -> list[StagePlan]:
        """The map stages among `stages`, in order."""
        kinds = {bound.stage.kind for bound in self.graph.chain}
        return [stage for stage in self.stages if stage.kind in kinds]

    @property
    def needed(self) -> int:
        """Bytes that are known to be written."""
        return sum(stage.bytes or 0 for stage in self.stages)

    @property
    def pending(self) -> bool:
        """Whether a run would do anything."""
        return any(stage.todo != 0 for stage in self.stages)


@dataclass(frozen=True)
class Options:
    """What narrows or widens a run."""

    limit: int | None = None
    retry_failed: bool = False


def make_plan(graph: Graph, options: Options, record: bool = False) -> Plan:
    """Compare the data with the store.

    Args:
        record: take the plan up: start artifacts and record new shards, as a run does.
    """
    if not graph.chain:
        stages: list[StagePlan] = []
        for bound in graph.whole:
            stages.append(_plan_whole(bound, stages))
        return Plan(graph, stages, [], 0, 0, free_bytes(graph.store))
    catalog = graph.chain[0].stage
    assert isinstance(catalog, CatalogStage)
    listed = list_items(catalog.data, graph.chain[0].context.data_root)
    if options.limit is not None:
        listed = listed[: options.limit]
    _check_scores(graph, catalog, listed)
    ledgers = [Ledger.load(bound.artifact) for bound in graph.chain]
    if record:
        _start(graph, catalog)
    first, tasks, gone = _plan_first(graph, ledgers[0], listed, options, record)
    stages = [first]
    wholes = list(graph.whole)
    for level in range(1, len(graph.chain)):
        while wholes and wholes[0].after == level:
            stages.append(_plan_whole(wholes.pop(0), stages))
        stage, more = _plan_below(graph, level, ledgers, options, record, stages[-1])
        stages.append(stage)
        tasks += more
    for bound in wholes:
        stages.append(_plan_whole(bound, stages))
    needed = needed_again(graph, ledgers, tasks)
    if needed:
        _plan_again(graph, ledgers, needed, stages)
        tasks = behind(graph.chain, tasks, needed)
    return Plan(graph, stages, tasks, len(listed), gone, free_bytes(graph.store))


def _check_scores(graph: Graph, catalog: CatalogStage, listed: Sequence[Row]) -> None:
    """Where something is scored, make sure that the data's ground truth allows it."""
    stages = {bound.stage.kind: bound.stage for bound in graph.chain}
    scores = stages.get("scores")
    if isinstance(scores, ScoresStage):
        rule = truth_rule(catalog.data, graph.chain[0].context.data_root, listed)
        refuse_unfit(scores.spec.protocols, rule, named="named" in stages)


def _start(graph: Graph, catalog: CatalogStage) -> None:
    root = graph.chain[0].context.data_root
    with atomic.store_errors(Path(root)):
        dataset_class(catalog.data.kind)(catalog.data, root).prepare_root()
    for level, bound in enumerate(graph.chain):
        start(bound.artifact, describe_stage(graph, level), graph.layout)


def _counts(kind: str, artifact: Artifact, ledger: Ledger) -> StagePlan:
    totals = ledger.totals()
    return StagePlan(kind, artifact.root, totals.done, totals.skipped, totals.rejected, totals.superseded)


def _plan_first(
    graph: Graph, ledger: Ledger, listed: Sequence[Row], options: Options, record: bool
) -> tuple[StagePlan, list[Task], int]:
    """The stage that takes listed files: new, changed and retried ones get new shards."""
    bound = graph.chain[0]
    artifact = bound.artifact
    plan = _counts(bound.stage.kind, artifact, ledger)
    retry = _rejected_uris(ledger, listed) if options.retry_failed else set()
    recorded = shardplan.read_plan(artifact)
    growth = shardplan.compare(recorded, listed, lambda uri: ledger.digest_of(source_id(uri)), retry)
    if record:
        table = shardplan.grow(artifact, listed, lambda uri: ledger.digest_of(source_id(uri)), retry)
    else:
        layout = artifact.layout if artifact.exists() else graph.layout
        table = pa.concat_tables([recorded, shardplan.assign(recorded, growth, layout)])
    tasks = _first_tasks(table, set(ledger.shards), {item["uri"] for item in listed})
    plan.todo = sum(task.count for task in tasks)
    plan.bytes = 200 * plan.todo
    plan.frames = None
    if not artifact.exists():
        plan.reasons.append(new_artifact_reason(artifact, bound.stage))
    elif growth:
        plan.reasons += _growth_reasons(growth)
    unfinished = plan.todo - len(growth.items())
    if unfinished > 0 and artifact.exists():
        plan.reasons.append(f"{unfinished} left by an earlier run")
    return plan, tasks, growth.gone if options.limit is None else 0


def _growth_reasons(growth: shardplan.Growth) -> list[str]:
    counted = {"new": growth.new, "changed": growth.changed, "to retry": growth.retried}
    return [f"{len(items)} file{'s' * (len(items) != 1)} {word}" for word, items in counted.items() if items]


def _rejected_uris(ledger: Ledger, listed: Sequence[Row]) -> set[str]:
    rejected = set(ledger.with_status("rejected")["source"].to_pylist())
    return {item["uri"] for item in listed if source_id(item["uri"]) in rejected}


def _first_tasks(plan: pa.Table, committed: set[str], listed: set[str]) -> list[Task]:
    """One task per recorded shard that is not committed and holds a listed file."""
    shards: dict[str, list[Row]] = {}
    for shard in pc.unique(plan["shard"]).to_pylist():
        if shard not in committed:
            shards[shard] = []
    if not shards:
        return []
    for row in plan.filter(pc.is_in(plan["shard"], pa.array(list(shards)))).to_pylist():
        shards[row.pop("shard")].append(row)
    return [
        Task(0, shard, items=items, count=len(items))
        for shard, items in shards.items()
        if any(item["uri"] in listed for item in items)
    ]


def _plan_below(
    graph: Graph, level: int, ledgers: list[Ledger], options: Options, record: bool, above: StagePlan
) -> tuple[StagePlan, list[Task]]:
    """A stage that takes another's shards: whatever those hold and this one's ledger lacks."""
    bound, artifact = graph.chain[level], graph.chain[level].artifact
    ledger = ledgers[level]
    plan = _counts(bound.stage.kind, artifact, ledger)
    incomplete = _incomplete(ledgers[level - 1], ledger)
    tasks: list[Task] = []
    if artifact.exists():
        committed = set(ledger.shards)
        for shard in incomplete:
            tasks += [t for t in tasks_below(graph.chain, level - 1, shard) if t.shard not in committed]
        retries = _retries(artifact, ledger, options, record)
        tasks += _retry_tasks(level, retries, committed)
        plan.reasons += [f"{n} videos {why}" for why, n in _why(tasks).items()]
        plan.frames, plan.bytes = sum(t.frames for t in tasks), sum(t.bytes for t in tasks)
        plan.todo = sum(t.count for t in tasks)
    else:
        plan.reasons.append(new_artifact_reason(artifact, bound.stage))
        _estimate_all(graph, level, ledgers[level - 1], plan)
    if not bound.stage.size_known() and plan.todo:
        plan.bytes = None
        plan.reasons.append("size known after the first shard")
    if above.todo != 0:
        plan.todo = plan.frames = plan.bytes = None
        plan.reasons.append(f"after the {above.kind}")
    return plan, tasks


def _plan_again(
    graph: Graph, ledgers: Sequence[Ledger], needed: set[str], stages: Sequence[StagePlan]
) -> None:
    """Add the ``needed`` shards that were dropped after use to the plan of the stage that makes them."""
    plan = next(stage for stage in stages if stage.kind == TRANSIENT)
    ledger = ledgers[transient_level(graph.chain) or 0]
    done = ledger.with_status("done")
    rows = done.filter(pc.is_in(done["shard"].cast(pa.string()), pa.array(sorted(needed))))
    plan.reasons.append(f"{rows.num_rows} videos whose {TRANSIENT} were dropped")
    if plan.todo is not None:
        plan.todo += rows.num_rows
        plan.frames = (plan.frames or 0) + (pc.sum(rows["frames"]).as_py() or 0)
        plan.bytes = (plan.bytes or 0) + sum(ledger.shards[shard] for shard in needed)


def _why(tasks: Sequence[Task]) -> Counter[str]:
    reasons: Counter[str] = Counter()
    for task in tasks:
        reasons["to retry" if task.videos else "without a result yet"] += task.count
    return reasons


def _incomplete(above: Ledger, ledger: Ledger) -> list[str]:
    """Upstream shards of which some video has no outcome here."""
    rows = above.table.filter(pc.not_equal(above.table["status"].cast(pa.string()), "unchanged"))
    names = zip(rows["video"].to_pylist(), rows["shard"].cast(pa.string()).to_pylist(), strict=True)
    have = set(
        zip(
            ledger.table["video"].to_pylist(),
            ledger.table["upstream"].cast(pa.string()).to_pylist(),
            strict=True,
        )
    )
    return sorted({shard for video, shard in names if (video, shard) not in have})


def _estimate_all(graph: Graph, level: int, above: Ledger, plan: StagePlan) -> None:
    """Count everything upstream as to do, for an artifact that does not exist yet."""
    stage, source = graph.chain[level].stage, graph.chain[level - 1].artifact
    current = set(above.with_status("done")["video"].to_pylist())
    plan.todo, plan.frames, plan.bytes = len(current), 0, 0
    if graph.chain[level - 1].stage.hands_on != "rows":
        plan.frames = plan.bytes = None
        return
    for shard in above.shards:
        for row in pq.read_table(source.shard(shard)).to_pylist():
            if row["video"] in current:
                frames, size = stage.estimate(row)
                plan.frames, plan.bytes = plan.frames + frames, plan.bytes + size


def _retries(artifact: Artifact, ledger: Ledger, options: Options, record: bool) -> pa.Table:
    """The recorded retries, and with ``retry_failed`` the present rejects as one more generation."""
    while True:
        recorded = shardplan.read_retries(artifact)
        rejected = ledger.with_status("rejected")
        if not options.retry_failed or not rejected.num_rows:
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


def _retry_tasks(level: int, retries: pa.Table, committed: set[str]) -> list[Task]:
    shards: dict[tuple[str, str], list[str]] = {}
    for row in retries.to_pylist():
        if row["shard"] not in committed:
            shards.setdefault((row["shard"], row["upstream"]), []).append(row["video"])
    return [
        Task(level, shard, upstream=upstream, videos=videos, count=len(videos))
        for (shard, upstream), videos in shards.items()
    ]


def _plan_whole(bound: BoundWhole, before: Sequence[StagePlan]) -> StagePlan:
    plan = StagePlan(bound.stage.kind, bound.folder, frames=None, bytes=None)
    found = whole.current(bound.folder)
    waiting = any(stage.todo != 0 for stage in before)
    changed = waiting or (found is not None and found[1] != whole.input_state(bound.inputs, bound.wholes))
    if found is None:
        plan.todo = 1
        plan.reasons = ["not made yet" + (f"; on a sample of {bound.sample} videos" if bound.sample else "")]
    elif changed and not bound.fit:
        plan.todo, plan.reasons = 1, ["its inputs have changed" if not waiting else "its inputs will change"]
    else:
        plan.cached = 1
        if changed and bound.streams:
            plan.reasons = ["trained on fewer videos; kept (another train.seed trains anew)"]
    return plan


def success_text(ledger: Ledger) -> bytes:
    """The content of ``_SUCCESS.json``."""
    content: dict[str, Any] = vars(ledger.totals())
    return (json.dumps(content, indent=2, sort_keys=True) + "\n").encode()
