"""The course of a run: map stages stream, with pauses for the trainings that are due."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Sequence

from cluster.chain import Receipt
from cluster.watching import TrainingWatch
from pipelines.dropping import Dropper
from pipelines.graph import BoundWhole, Graph
from pipelines.output import Output
from pipelines.planning import Options, Plan, StagePlan, make_plan
from pipelines.progress import Reporter, StageProgress
from pipelines.running import Part, Runner, consolidate, make_whole, next_fit, run_plan
from pipelines.runs import RunRecord
from pipelines.sharing import Held, all_held, release_ended, sort_out, wait_for_any
from stages.artifacts import whole
from stages.artifacts.leases import Holder
from stages.artifacts.ledger import Ledger
from stages.discovery.sample import sampled_shards


class Work:
    """One run of a recipe, up to the stages that take everything.

    Args:
        options: those that the first plan was made with; what it knew about retries is recorded.
    """

    def __init__(
        self, graph: Graph, options: Options, runner: Runner, output: Output, record: RunRecord
    ) -> None:
        self._graph, self._runner, self._output, self._record = graph, runner, output, record
        self._options = dataclasses.replace(options, retry_failed=False)
        self._dropper = Dropper(graph, record.id)
        self._done: dict[str, StageProgress] = {}

    def do(self, plan: Plan) -> None:
        """Map stages up to a training that is due, the training, and so on; then the rest in one stream."""
        self._dropper.expect(plan.tasks)
        self._dropper.sweep()
        if not plan.pending:
            self._output.say("nothing to do: everything is cached")
            return
        release_ended(self._graph)
        while (fit := next_fit(self._graph)) is not None:
            if fit.streams:
                self._feed(plan, fit)
            self._output.say(f"training {fit.stage.name} in {fit.folder}")
            stage = fit.stage
            with (
                self._record.training(stage.kind, stage.name, fit.folder / whole.CHECKPOINTS),
                contextlib.closing(TrainingWatch(self._record.folder, stage.kind)) as watch,
            ):
                make_whole(fit, self._graph, self._runner, {}, watch, self._tell_trains)
            plan = self._planned()
        self._stream(plan, Part())
        self._dropper.expect(())
        self._dropper.sweep()

    def _tell_trains(self, holder: Holder) -> None:
        self._tell(f"waiting for {holder}, which trains this model")

    def _feed(self, plan: Plan, fit: BoundWhole) -> None:
        """Make what ``fit`` learns from: all of it, or of the whole catalog's videos the sampled ones."""
        roots = None
        if fit.sample:
            self._stream(plan, Part(1))
            plan = self._planned()
            roots = sampled_shards(Ledger.load(self._graph.chain[0].artifact), fit.sample)
        self._stream(plan, Part(fit.after, roots))
        consolidate(self._graph, fit.after, complete=False)

    def _planned(self) -> Plan:
        plan = make_plan(self._graph, self._options, record=True)
        self._dropper.expect(plan.tasks)
        return plan

    def _stream(self, plan: Plan, part: Part) -> None:
        """Run ``part`` of the plan to its end: wait for what other runs make of it, and do the rest."""
        held = self._run(plan, part)
        while held:
            self._record.waits(f"{len(held)} shards that {held[0].holder} is making")
            try:
                wait_for_any(self._graph.chain, held, self._record.id, self._tell)
            finally:
                self._record.waits("")
            chain = plan.graph.chain[: part.levels]
            if any(item.task.replace for item in held):  # whether it is still needed only a plan can say
                plan = self._planned()
                tasks = part.of(plan.tasks, len(chain))
                held = all_held(chain, tasks, self._record.id) or self._run(plan, part)
            else:
                now = sort_out(chain, held, self._record.id)
                rest = dataclasses.replace(plan, tasks=now.free)
                held = now.held + self._make(rest, part, now.found)

    def _run(self, plan: Plan, part: Part) -> list[Held]:
        """Run ``part`` of the plan, and count what it does; what other runs are making is returned."""
        for stage in plan.chain:
            progress = self._done.setdefault(stage.kind, StageProgress(stage.kind, 0))
            progress.total = None if stage.todo is None else progress.finished + stage.todo
        self._record.events.add("planned", stages={s.kind: _planned(s) for s in plan.chain})
        return self._make(plan, part)

    def _make(self, plan: Plan, part: Part, found: Sequence[Receipt] = ()) -> list[Held]:
        """Make ``part`` of the plan's tasks, and count what others have made, which was ``found``."""
        stages, record, output = list(self._done.values()), self._record, self._output
        line = output.progress if output.log else None
        quiet = output.as_json or not plan.tasks
        reporter = Reporter(output.errors, stages, record.update, quiet, record.receipt, line)
        with record.streaming(), reporter:
            return run_plan(plan, self._runner, reporter, record.id, part, self._dropper, found)

    def _tell(self, text: str) -> None:
        """A line on what is waited for."""
        if not self._output.as_json:
            self._output.error(text)


def _planned(stage: StagePlan) -> dict[str, int | None]:
    return {name: getattr(stage, name) for name in ("cached", "todo", "rejected", "skipped")}
