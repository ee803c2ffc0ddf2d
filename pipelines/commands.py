"""What each flag of the command line does. Every command returns its exit code."""

from __future__ import annotations

import argparse
import dataclasses
import os
from collections.abc import Callable

from cluster.resources import cpus
from configs.compose import to_dict
from configs.schema import Config
from pipelines import arguments
from pipelines.dropping import used_elsewhere
from pipelines.graph import Graph, build, inside_ray_job, store_folder
from pipelines.notes import naming_warning, plan_notes
from pipelines.output import Output, human_bytes
from pipelines.planning import Options, Plan, make_plan
from pipelines.running import Runner, finish, refuse_unschedulable
from pipelines.runs import RunRecord, all_runs
from pipelines.working import Work
from stages.artifacts import whole
from stages.artifacts.ledger import Totals
from stages.labeling.accuracy import read_accuracy


def plan_command(config: Config, args: argparse.Namespace, output: Output) -> int:
    """``--plan``: print the plan; exit 5 where it can't be scheduled."""
    graph = build(config, args.limit)
    plan = make_plan(graph, Options(args.limit, args.retry_failed))
    output.plan(plan, plan_notes(plan, args))
    refuse_unschedulable(plan, _here(args))
    return 0


def _here(args: argparse.Namespace) -> bool:
    return args.runner == "local" or not (args.address or inside_ray_job() or os.environ.get("RAY_ADDRESS"))


def run_command(config: Config, args: argparse.Namespace, output: Output) -> int:
    """Run the recipe."""
    graph = build(config, args.limit)
    options = Options(args.limit, args.retry_failed)
    runner = make_runner(args, config, output.error)
    plan = make_plan(graph, options, record=True)
    refuse_unschedulable(plan, _here(args))
    record = RunRecord(graph.store, config, [bound.artifact.root.name for bound in graph.chain])
    state, code = "failed", 1
    try:
        output.say(f"run {record.id} on {graph.store}")
        if warning := naming_warning(config):
            output.error(warning)
        if used_elsewhere(graph, record.id):  # it may have dropped something before it saw this run's record
            plan = make_plan(graph, dataclasses.replace(options, retry_failed=False), record=True)
        _prepare(plan, output)
        Work(graph, options, runner, output, record).do(plan)
        facts = {"run": record.id, "settings": to_dict(config), "stages": dict(record.stages)}
        totals = finish(graph, runner, complete=args.limit is None, facts=facts)
        code = _verdict(totals, args, output)
        state = "finished"
        _report(graph, totals, record, code, output)
        return code
    except KeyboardInterrupt:
        state, code = "interrupted", 130
        raise
    finally:
        record.close(state, code)


def _prepare(plan: Plan, output: Output) -> None:
    """What stages with something to do find out before the first shard."""
    for stage, bound in zip(plan.chain, plan.graph.chain, strict=True):
        if stage.todo != 0:
            for sentence in bound.stage.prepare(bound.context):
                output.error(sentence)


def _verdict(totals: dict[str, Totals], args: argparse.Namespace, output: Output) -> int:
    """Exit code 3 where more videos are rejected than tolerated."""
    if not totals:
        return 0
    rejected = sum(total.rejected for total in totals.values())
    catalog = totals["catalog"]
    everything = catalog.done + catalog.rejected
    allowed = arguments.max_failed(args.max_failed, everything)
    if rejected <= allowed:
        return 0
    output.error(
        f"{rejected} of {everything} videos were rejected, more than --max-failed {args.max_failed}: "
        "see rejects/ in the artifacts, or --explain VIDEO; --retry-failed tries them again"
    )
    return 3


def _report(graph: Graph, totals: dict[str, Totals], record: RunRecord, code: int, output: Output) -> None:
    folders = {bound.stage.kind: str(bound.artifact.root) for bound in graph.chain}
    artifacts = folders | {item.stage.kind: str(item.folder) for item in graph.whole}
    record.made(artifacts)
    output.totals(totals, folders)
    for item in graph.whole:
        output.say(f"{item.stage.kind}: {item.folder}")
        made = whole.files(item.folder)
        if made is not None and (told := item.stage.told(made)):
            output.say(f"  {told}")
    output.metrics(artifacts)
    accuracy = read_accuracy(artifacts["clip"]) if "clip" in artifacts else {}
    output.accuracy(accuracy)
    output.data(
        {
            "run": record.id,
            "store": str(graph.store),
            "artifacts": artifacts,
            "totals": {kind: vars(total) for kind, total in totals.items()},
            **({"accuracy": {name: vars(found) for name, found in accuracy.items()}} if accuracy else {}),
            "exit_code": code,
        }
    )


def make_runner(args: argparse.Namespace, config: Config, tell: Callable[[str], None]) -> Runner:
    """The runner that ``--runner``, ``--workers`` and ``--address`` ask for; ``tell`` takes its sentences."""
    if args.runner == "local":
        from cluster.local import LocalRunner

        return LocalRunner(args.workers or 1, fit_workers=config.run.train_workers)
    from cluster.on_ray import RayRunner

    workers = args.workers or (0 if args.address or inside_ray_job() else cpus())
    return RayRunner(workers, config.run.gpus, args.address, config.run.train_workers, tell)


def status_command(config: Config, args: argparse.Namespace, output: Output) -> int:
    """``--status``: the latest run on the store."""
    runs = all_runs(store_folder(config))
    if not runs:
        output.say(f"no run on {store_folder(config)} yet")
        output.data({"run": None})
        return 0
    latest = runs[-1]
    output.say(f"{latest.status['run']}: {latest.state}, last sign of life {latest.age_s:.0f} s ago")
    for kind, stage in latest.status["stages"].items():
        finished = stage["done"] + stage["rejected"] + stage["skipped"]
        total = max(stage["total"] or 0, finished)
        output.say(
            f"  {kind}: {finished:,}/{total:,} videos, {stage['rejected']} rejected, "
            f"{stage['frames']:,} frames, {human_bytes(stage['bytes'])}"
        )
    output.data({**latest.status, "state": latest.state})
    return 0


def verify_command(config: Config, args: argparse.Namespace, output: Output) -> int:
    """``--verify [--repair]``: exit 4 where a shard is damaged and not repaired."""
    from pipelines.verifying import verify

    return verify(build(config), args, output)


def explain_command(config: Config, args: argparse.Namespace, output: Output) -> int:
    """``--explain VIDEO``: what became of a video in every stage."""
    from pipelines.explaining import explain

    return explain(build(config), args.explain, output)


def gc_command(config: Config, args: argparse.Namespace, output: Output) -> int:
    """``--gc [--yes]``: left-overs of the store; refused while a run lives."""
    from pipelines.collecting import collect

    return collect(store_folder(config), args.yes, output)


def du_command(config: Config, args: argparse.Namespace, output: Output) -> int:
    """``--du``: disk use by artifact."""
    from pipelines.collecting import disk_use

    return disk_use(store_folder(config), output)
