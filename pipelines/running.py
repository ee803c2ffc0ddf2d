"""Running a plan: tasks to a runner, receipts to the progress, and what has to be done at the end."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from cluster.chain import Chain, Receipt, Task
from cluster.resources import ResourcesError, has_gpu
from cluster.watching import TrainingWatch
from configs.compose import to_dict
from configs.models import SECTIONS
from pipelines.dropping import Dropper
from pipelines.graph import BoundWhole, Graph
from pipelines.planning import Plan, success_text
from pipelines.progress import Reporter
from pipelines.sharing import Held
from stages.artifacts import atomic, lineage, scratch, whole
from stages.artifacts.atomic import StoreError
from stages.artifacts.commit import RepairRefusedError
from stages.artifacts.leases import Holder
from stages.artifacts.ledger import Ledger, Totals
from stages.artifacts.manifest import DamagedError
from stages.artifacts.place import Place
from stages.errors import SettingsError
from stages.features.store import locate
from stages.stage import FitStage, WorkContext


class Runner(Protocol):
    """Where shards are made. Both runners give the same bytes."""

    name: str

    def run(self, chain: Chain, tasks: Sequence[Task], run_id: str) -> Iterator[Receipt]:
        """Make ``tasks`` and whatever follows from them."""

    def fit(self, stage: FitStage, inputs: Sequence[Place], folder: Place, context: WorkContext) -> None:
        """Run a fit stage into ``folder``."""


@dataclass(frozen=True)
class Part:
    """A part of a plan's tasks.

    Attributes:
        levels: only the first so many map stages; None for all.
        roots: only what descends from these shards of the first stage; None for all.
    """

    levels: int | None = None
    roots: Collection[str] | None = None

    def of(self, tasks: Sequence[Task], levels: int) -> list[Task]:
        """Those of ``tasks`` and of what waits for them that are in it and in the first ``levels`` stages."""
        return [
            replace(task, then=self.of(task.then, levels))
            for task in tasks
            if task.level < levels and (self.roots is None or lineage.root(task.shard) in self.roots)
        ]


class RunFailedError(RuntimeError):
    """A worker met something that is neither a video's fault nor the user's: a bug."""


def run_plan(
    plan: Plan,
    runner: Runner,
    reporter: Reporter,
    run_id: str,
    part: Part | None = None,
    dropper: Dropper | None = None,
    found: Sequence[Receipt] = (),
) -> list[Held]:
    """Run what the plan holds, but for what other runs are making, which is returned.

    A third run in a row starts nothing.

    Args:
        part: only this part of it; default: all.
        dropper: removes what nothing will read again.
        found: receipts of what other runs have made of it.

    Raises:
        StoreError, SettingsError, DamagedError, RepairRefusedError: as reported by a worker.
        RunFailedError: if a worker met a bug; the message holds its traceback.
    """
    part = part or Part()
    chain = plan.graph.chain[: part.levels]
    tasks = part.of(plan.tasks, len(chain))
    if not tasks and not found:
        return []
    held: list[Held] = []
    for bound in plan.graph.chain:
        bound.artifact.success_json.unlink(missing_ok=True)
    for level in {task.level for task in tasks if task.replace}:
        chain[level].artifact.index_path.unlink(missing_ok=True)  # a cache of manifests that will be others
    receipts = runner.run(chain, tasks, run_id) if tasks else iter(())
    try:
        for receipt in itertools.chain(found, receipts):
            raise_error(receipt)
            if receipt.held:
                held.append(Held.of(receipt))
                continue
            chain[receipt.level].artifact.know(receipt.shard)
            reporter.take(receipt)
            if dropper is not None:
                dropper.take(receipt)
    finally:
        close = getattr(receipts, "close", None)
        if close is not None:
            close()
    return held


def next_fit(graph: Graph) -> BoundWhole | None:
    """The first training whose model is not there; the map stages after it have to wait."""
    return next((item for item in graph.whole if item.fit and whole.current(item.folder) is None), None)


def raise_error(receipt: Receipt) -> None:
    """Raise what a worker reported as a reason to stop, if it did."""
    match receipt.error_kind:
        case "":
            return
        case "store":
            raise StoreError(receipt.error)
        case "settings":
            raise SettingsError(receipt.error)
        case "damage":
            raise DamagedError(receipt.error)
        case "repair":
            raise RepairRefusedError(receipt.error)
        case _:
            raise RunFailedError(receipt.error)


def finish(
    graph: Graph,
    runner: Runner,
    complete: bool,
    facts: Mapping[str, Any] | None = None,
    tell: Callable[[Holder], None] | None = None,
) -> dict[str, Totals]:
    """Consolidate the ledgers, make the whole stages, and say what is complete.

    Args:
        complete: nothing is pending, so that ``_SUCCESS.json`` may be written.
        facts: what the report tells about this run.
        tell: called with who else makes a whole stage, now and then while that is waited for.
    """
    totals = consolidate(graph, len(graph.chain), complete)
    facts = facts or {}
    for item in graph.whole:
        began = time.monotonic()
        if make_whole(item, graph, runner, facts, tell=tell):
            facts.get("stages", {}).setdefault(item.stage.kind, {"seconds": time.monotonic() - began})
    return totals


def consolidate(graph: Graph, levels: int, complete: bool) -> dict[str, Totals]:
    """Write the indexes of the first ``levels`` map stages, and ``_SUCCESS.json`` where all is there."""
    totals = {}
    for bound in graph.chain[:levels]:
        ledger = Ledger.load(bound.artifact)
        stale = ledger.fresh > 0
        ledger.save(bound.artifact)
        totals[bound.stage.kind] = ledger.totals()
        if bound.stage.kind == "features" and stale:
            locate.prepare(bound.artifact.root)
        if complete and (stale or not bound.artifact.success_json.exists()):
            atomic.write_bytes(bound.artifact.success_json, success_text(ledger))
    return totals


def make_whole(
    item: BoundWhole,
    graph: Graph,
    runner: Runner,
    facts: Mapping[str, Any],
    watch: TrainingWatch | None = None,
    tell: Callable[[Holder], None] | None = None,
) -> bool:
    """Make a fit or reduce stage's files, unless those of the present inputs are there; says whether it did.

    A model is trained once: later growth of the corpus does not train it again.

    Args:
        facts: what the report tells about this run.
        watch: follows the training of a fit stage.
        tell: called with who else makes them, now and then while that is waited for.
    """
    if _state_due(item):
        with whole.exclusively(item.folder, tell):
            if state := _state_due(item):
                _make(item, graph, runner, facts, watch, state)
                return True
    return False


def _state_due(item: BoundWhole) -> str:
    """The state of the inputs from which the files are to be made; "" where those that are there will do."""
    found = whole.current(item.folder)
    if item.fit and found is not None:
        return ""
    state = whole.input_state(item.inputs, item.wholes)
    return "" if found is not None and found[1] == state else state


def _make(
    item: BoundWhole,
    graph: Graph,
    runner: Runner,
    facts: Mapping[str, Any],
    watch: TrainingWatch | None,
    state: str,
) -> None:
    description = {
        "kind": item.stage.kind,
        "name": item.stage.name,
        "fingerprint": item.fingerprint,
        "identity": item.stage.identity(),
        "inputs": [artifact.root.name for artifact in item.inputs],
        **_described(graph, item),
    }
    roots = [artifact.root for artifact in item.inputs]
    context = replace(item.context, facts=facts, checkpoints=item.folder / whole.CHECKPOINTS, report=watch)
    stage = item.stage

    def make(folder: Place) -> None:
        if isinstance(stage, FitStage):
            runner.fit(stage, roots, folder, context)
        else:
            with scratch.filled(folder) as files:
                stage.make(roots, files, context)

    whole.produce(item.folder, description, state, make)


def _described(graph: Graph, item: BoundWhole) -> dict[str, Any]:
    """What a model's ``stage.json`` says beyond a stage's own identity: how its videos were seen."""
    if item.stage.kind != "model":
        return {}
    settings = to_dict(graph.config)
    settings["decode"].pop("placement")  # where videos were decoded is no part of how they were seen
    sections = (*SECTIONS, settings["method"]["name"])
    features = next(b.stage for b in reversed(graph.chain[: item.after]))
    return {"settings": {key: settings[key] for key in sections}, "features": features.identity()}


def refuse_unschedulable(plan: Plan, here: bool) -> None:
    """Refuse what can't be stored or placed: known bytes to write against free disk, GPUs that are not there.

    Args:
        here: the run will be on this machine and not on a cluster.

    Raises:
        ResourcesError: naming what is needed and what there is.
    """
    settings = plan.graph.config.run
    if here and (settings.gpus > 0 or settings.device.startswith("cuda")) and not has_gpu():
        raise ResourcesError(
            f"run.device={settings.device}, run.gpus={settings.gpus:g}: this machine has no NVIDIA GPU; "
            "leave both out to run on its CPUs, or name a cluster with --address"
        )
    if plan.free is not None and plan.needed > plan.free:
        raise ResourcesError(
            f"the store {plan.graph.store} has {plan.free:,} bytes free and the run needs about "
            f"{plan.needed:,}: free some space or choose another with --set store=FOLDER"
        )
