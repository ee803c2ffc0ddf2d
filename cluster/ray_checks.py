"""What a cluster must have before work begins: room for the workers, and nodes that see the data."""

from __future__ import annotations

import os

from cluster.chain import Chain
from cluster.ray_setup import ray
from cluster.resources import ResourcesError


def default_workers(gpus: float) -> int:
    """One per CPU of the cluster, or one per share of ``gpus`` GPUs."""
    resources = ray.cluster_resources()
    return max(1, int(resources.get("GPU", 0) / gpus) if gpus else int(resources.get("CPU", 1)))


def check_capacity(workers: int, gpus: float, setting: str = "--workers") -> None:
    """Refuse pools that Ray could never place, which it would wait for without a word."""
    resources = ray.cluster_resources()
    what, need, have = (
        ("GPU", workers * gpus, resources.get("GPU", 0.0))
        if gpus
        else ("CPU", workers, resources.get("CPU", 0.0))
    )
    if need > have:
        raise ResourcesError(
            f"{workers} workers need {need:g} {what}s, the cluster has {have:g}: lower {setting}"
        )


@ray.remote(num_cpus=0)
def _sees(paths: list[str]) -> list[str]:
    return [path for path in paths if not os.path.exists(path)]  # noqa: PTH110


def check_nodes(chain: Chain) -> None:
    """Prove that every node sees the store and the data."""
    paths = [str(chain[0].artifact.stage_json), chain[0].context.data_root]
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    alive = [node for node in ray.nodes() if node["Alive"]]
    answers = [
        _sees.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)).remote(
            paths
        )
        for node in alive
    ]
    for node, missing in zip(alive, ray.get(answers), strict=True):
        if missing:
            raise ResourcesError(
                f"node {node['NodeManagerHostname']} ({node['NodeManagerAddress']}) doesn't see "
                f"{missing[0]}: put store and data where every node reads them under the same path"
            )
