"""What each flag of the command line does. Every command returns its exit code."""

from __future__ import annotations

import argparse
import dataclasses
import os
from collections.abc import Callable, Mapping
from typing import Any

from cluster.dashboard import ask
from cluster.resources import ResourcesError, cpus, nodes_patience
from configs.compose import to_dict
from configs.schema import Config
from pipelines import arguments
from pipelines.dropping import used_elsewhere
from pipelines.estimating import estimate
from pipelines.graph import Graph, build, inside_ray_job, store_folder
from pipelines.notes import naming_warning, plan_notes
from pipelines.output import Output
from pipelines.planning import Options, Plan, make_plan
from pipelines.rates import identities
from pipelines.running import Runner, finish, refuse_unschedulable
from pipelines.runs import RunRecord
from pipelines.sharing import works_on
from pipelines.sites import site_of
from pipelines.working import Work
from stages.artifacts import whole
from stages.artifacts.leases import Holder
from stages.artifacts.ledger import Totals
from stages.artifacts.place import Place
from stages.errors import SettingsError
from stages.labeling.accuracy import read_accuracy
from stages.stage import Stage


def plan_command(config: Config, args: argparse.Namespace, output: Output) -> int:
    """``--plan``: print the plan; exit 5 where it can't be scheduled."""
    refuse_remote(args, config)
    graph = build(config, args.limit)
    plan = make_plan(graph, Options(args.limit, args.retry_failed))
    cluster = ask(args.address) if args.address else None
    site, refusal = site_of(plan, args.runner, args.workers, cluster)
    found = estimate(plan, site)
    refusal = _refusal(plan, args) or refusal
    output.plan(plan, plan_notes(plan, args.runner, found, cluster), found, whole=refusal is None)
    if refusal is not None:
        raise refusal
    return 0


def _refusal(plan: Plan, args: argparse.Namespace) -> ResourcesError | None:
    """Why a run would be refused wherever it is; None if it would not."""
    try:
        refuse_unschedulable(plan, _here(args))
    except ResourcesError as error:
        return error
    return None


def _here(args: argparse.Namespace) -> bool:
    return args.runner == "local" or not (args.address or inside_ray_job() or os.environ.get("RAY_ADDRESS"))


def run_command(config: Config, args: argparse.Namespace, output: Output) -> int:
    """Run the recipe."""
    if config.run.log == "json":
        output.logged()
    graph = build(config, args.limit)
    options = Options(args.limit, args.retry_failed)
    runner = make_runner(args, config, output.error)
    plan = make_plan(graph, options, record=True)
    refuse_unschedulable(plan, _here(args))
    tasks = [task for planned in plan.tasks for task in (planned, *planned.then)]
    keeps = config.keep != "results" or args.retry_failed or any(task.videos for task in tasks)
    record = RunRecord(graph.store, config, works_on(graph), keeps)
    record.watch_nodes(getattr(runner, "nodes", dict))
    state, code, problem = "failed", 1, ""
    try:
        record.note(identities=identities(_folders(graph)))
        output.say(f"run {record.id} on {graph.store}")
        if warning := naming_warning(config):
            output.error(warning)
        if used_elsewhere(graph, record.id):  # it may have dropped something before it saw this run's record
            plan = make_plan(graph, dataclasses.replace(options, retry_failed=False), record=True)
        _prepare(plan, output)
        Work(graph, options, runner, output, record).do(plan)
        facts: dict[str, Any] = {"run": record.id, "settings": to_dict(config), "stages": dict(record.stages)}

        def tell(holder: Holder) -> None:
            output.error(f"waiting for {holder}, which makes the same tables")

        totals = finish(graph, runner, complete=args.limit is None, facts=facts, tell=tell)
        record.note(wholes=_spent_on_wholes(graph, facts["stages"], totals))
        code = _verdict(totals, args, output)
        state = "finished"
        _report(graph, totals, record, code, output)
        return code
    except KeyboardInterrupt:
        state, code = "interrupted", 130
        raise
    except Exception as error:
        problem = f"{type(error).__name__}: {error}"
        raise
    finally:
        record.close(state, code, problem)


def _folders(graph: Graph) -> list[tuple[Stage, Place]]:
    """Every stage of the recipe and the folder it fills."""
    return [(bound.stage, bound.artifact.root) for bound in graph.chain] + [
        (bound.stage, bound.folder) for bound in graph.whole
    ]


def _spent_on_wholes(
    graph: Graph, did: Mapping[str, Any], totals: Mapping[str, Totals]
) -> dict[str, dict[str, float]]:
    """Seconds that this run spent on fit and reduce stages, and the videos that were there, by kind."""
    videos = [0, *(totals[bound.stage.kind].done for bound in graph.chain)]
    return {
        bound.stage.kind: {"seconds": did[bound.stage.kind]["seconds"], "videos": videos[bound.after]}
        for bound in graph.whole
        if bound.stage.kind in did
    }


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
    refuse_remote(args, config)
    if args.runner == "local":
        from cluster.local import LocalRunner

        return LocalRunner(args.workers or 1, fit_workers=config.run.train_workers)
    from cluster.on_ray import RayRunner

    workers = args.workers or (0 if args.address or inside_ray_job() else cpus())
    decoders = config.run.decode_workers if config.decode.placement == "remote" else None
    patience = nodes_patience(config.run.nodes_s)
    return RayRunner(
        workers, config.run.gpus, args.address, config.run.train_workers, decoders, tell, patience
    )


def refuse_remote(args: argparse.Namespace, config: Config) -> None:
    """Refuse decoding on other nodes where there are none: silence would hide that it was not done.

    Raises:
        SettingsError: naming both ways out.
    """
    if args.runner == "local" and config.decode.placement == "remote":
        raise SettingsError(
            "decode.placement=remote: the local runner has no other nodes to decode on; leave it out, or use "
            "--runner ray"
        )


def status_command(config: Config, args: argparse.Namespace, output: Output) -> int:
    """``--status [RUN]``: a run on the store, the latest one by default."""
    from pipelines.status import show_status

    return show_status(store_folder(config), args.status, output)


def verify_command(config: Config, args: argparse.Namespace, output: Output) -> int:
    """``--verify [--repair]``: exit 4 where a shard is damaged and not repaired."""
    from pipelines.verifying import verify

    return verify(build(config), args, output)


def explain_command(config: Config, args: argparse.Namespace, output: Output) -> int:
    """``--explain VIDEO``: what became of a video in every stage."""
    from pipelines.explaining import explain

    return explain(build(config), args.explain, output)


def gc_command(config: Config, args: argparse.Namespace, output: Output) -> int:
    """``--gc [--yes]``: left-overs of the store that no living run can need."""
    from pipelines.collecting import collect

    return collect(store_folder(config), args.yes, output)


def du_command(config: Config, args: argparse.Namespace, output: Output) -> int:
    """``--du``: disk use by artifact."""
    from pipelines.collecting import disk_use

    return disk_use(store_folder(config), output)
