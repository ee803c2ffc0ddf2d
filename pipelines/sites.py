"""Where a run would be: this machine or a cluster, with how many workers, and whether they find room."""

from __future__ import annotations

from cluster.dashboard import Cluster
from cluster.placement import Arrangement, Asked, arrange, arrange_training, owner_needs
from cluster.resources import ResourcesError, cpus, gpu_models, has_gpu, nodes_patience
from pipelines.estimating import Site
from pipelines.planning import Plan
from stages.artifacts.layout import processor


def site_of(
    plan: Plan, runner: str, workers: int | None, cluster: Cluster | None
) -> tuple[Site, ResourcesError | None]:
    """What a run of ``plan`` would work on, and why it would be refused there, if it would.

    Args:
        runner: ``ray`` or ``local``.
        workers: as ``--workers`` says; None for what the runner would choose.
        cluster: the cluster it would join; None for this machine.
    """
    if cluster is None:
        return _here(plan, runner, workers), None
    config = plan.graph.config
    decoders = config.run.decode_workers if config.decode.placement == "remote" else None
    asked = Asked(workers or 0, config.run.gpus, decoders)
    kinds = tuple(sorted({kind for node in cluster.nodes for kind in node.gpu_kinds}))
    shares, found, refusal = {}, workers or 1, None
    try:
        if (arranged := _arranged(plan, asked, cluster)) is not None:
            first = _first(plan)
            found = arranged.workers
            shares = {
                stage.kind: needs["GPU"]
                for stage, needs in zip(plan.chain[first:], arranged.needs, strict=True)
                if "GPU" in needs
            }
    except ResourcesError as error:
        refusal = None if nodes_patience(config.run.nodes_s) else error  # else it waits for more nodes
    accelerated = asked.gpus > 0
    all_cpus = max(cluster.cpus, 1)
    return Site(
        cluster.url, found, all_cpus, True, shares, kinds if accelerated else (), accelerated
    ), refusal


def _here(plan: Plan, runner: str, workers: int | None) -> Site:
    run = plan.graph.config.run
    count = workers or (1 if runner == "local" else cpus())
    if run.device == "cpu" or not has_gpu() or (runner == "ray" and not run.gpus):
        return Site("this machine", count, cpus(), runner == "ray", {}, (processor(),))
    stages = [bound.stage for bound in plan.graph.chain]
    gpus = run.gpus or 1.0 / count  # processes of the local runner share the GPU
    needs = owner_needs([stage.accelerated for stage in stages], gpus) if stages else []
    shares = {s.kind: need["GPU"] for s, need in zip(stages, needs, strict=True) if "GPU" in need}
    return Site("this machine", count, cpus(), runner == "ray", shares, (processor(), *gpu_models()), True)


def _first(plan: Plan) -> int:
    """The first map stage that has something to do."""
    return next((level for level, stage in enumerate(plan.chain) if stage.todo != 0), len(plan.chain))


def _arranged(plan: Plan, asked: Asked, cluster: Cluster) -> Arrangement | None:
    """Where the actors of the map stages would go; None if none would be started.

    Raises:
        ResourcesError: they, or the processes of a training, don't fit.
    """
    todo = {stage.kind for stage in plan.stages if stage.todo != 0}
    for bound in plan.graph.whole:
        if bound.fit and bound.stage.kind in todo:
            arrange_training(cluster.nodes, plan.graph.config.run.train_workers, asked)
    stages = [bound.stage for bound in plan.graph.chain[_first(plan) :]]
    return arrange(cluster.nodes, stages, asked) if stages else None
