"""What a cluster must have before work begins: room for the workers, and nodes that see the data."""

from __future__ import annotations

from cluster.chain import Chain
from cluster.placement import Node
from cluster.ray_setup import ray
from cluster.resources import ResourcesError
from stages.artifacts.place import StoreError, place


def present_nodes() -> list[Node]:
    """The living nodes with what they have and what nobody holds, sorted by name."""
    from ray._private.state import available_resources_per_node

    free = available_resources_per_node()
    nodes = [
        Node(
            node["NodeID"],
            f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})",
            node["Resources"],
            free.get(node["NodeID"], {}),
        )
        for node in ray.nodes()
        if node["Alive"]
    ]
    return sorted(nodes, key=lambda node: (node.name, node.id))


@ray.remote(num_cpus=0)
def _misses(paths: list[str]) -> list[str]:
    found = []
    for path in paths:
        try:
            if not place(path).exists():
                found.append(path)
        except StoreError as error:
            found.append(f"{path} ({error})")
    return found


def check_nodes(chain: Chain) -> None:
    """Prove that every node sees the store and the data."""
    paths = [str(chain[0].artifact.stage_json), chain[0].context.data_root]
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    alive = [node for node in ray.nodes() if node["Alive"]]
    answers = [
        _misses.options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        ).remote(paths)
        for node in alive
    ]
    for node, answer in zip(alive, answers, strict=True):
        try:
            missing = ray.get(answer)
        except ray.exceptions.RayError:
            if node["NodeID"] in {other["NodeID"] for other in ray.nodes() if other["Alive"]}:
                raise
            continue  # it is lost meanwhile: nothing will be made there
        if missing:
            raise ResourcesError(
                f"node {node['NodeManagerHostname']} ({node['NodeManagerAddress']}) doesn't see "
                f"{missing[0]}: put store and data where every node reads them under the same path"
            )
