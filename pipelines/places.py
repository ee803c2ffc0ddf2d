"""Where a run would be: this machine or a cluster, with how many workers, and whether they fit."""

from __future__ import annotations

import math

from cluster.dashboard import Cluster
from cluster.resources import ResourcesError, cpus, gpu_models, has_gpu
from configs.schema import Config
from pipelines.estimating import Place
from stages.artifacts.layout import processor


def place_of(config: Config, runner: str, workers: int | None, cluster: Cluster | None) -> Place:
    """What a run with these settings would work on.

    Args:
        workers: as ``--workers`` says; None for what the runner would choose.
        cluster: the cluster it would join; None for this machine.
    """
    gpus = config.run.gpus
    if cluster is None:
        accelerated = config.run.device != "cpu" and has_gpu() and (runner == "local" or gpus > 0)
        count = workers or (1 if runner == "local" else cpus())
        share = (gpus or 1.0 / count) if accelerated else 0.0
        names = (processor(), *gpu_models()) if accelerated else (processor(),)
        return Place("this machine", count, cpus(), runner != "local", share, names)
    count = workers or max(1, room(cluster, gpus))
    kinds = tuple(sorted({kind for node in cluster.nodes for kind in node.gpu_kinds}))
    return Place(cluster.url, count, max(cluster.cpus, 1.0), True, gpus, kinds if gpus else ())


def room(cluster: Cluster, gpus: float) -> int:
    """Workers of a CPU, or of ``gpus`` GPUs, that the nodes can hold: none is spread over two."""
    if gpus > 0:
        return sum(math.floor(node.gpus / gpus + 1e-9) for node in cluster.nodes)
    return sum(math.floor(node.cpus) for node in cluster.nodes)


def check_room(cluster: Cluster, workers: int, gpus: float) -> None:
    """Refuse what the cluster could never place.

    Raises:
        ResourcesError: naming what is needed and what there is.
    """
    fits = room(cluster, gpus)
    if workers > fits:
        each, total, what = (gpus, cluster.gpus, "GPU") if gpus > 0 else (1, cluster.cpus, "CPU")
        raise ResourcesError(
            f"{workers} workers of {each:g} {what} each don't fit on {cluster.url}, which has {total:g} "
            f"{what}s on {len(cluster.nodes)} nodes, room for {fits}: "
            + (f"lower --workers to {fits}" if fits else "leave out run.gpus, or add nodes with GPUs")
        )
