"""Nodes lost while they train: the training goes on from its last checkpoint, to the same model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import torch
from safetensors.torch import load

from tests import cli
from tests.cluster.nodes import Node, Nodes, started_nodes
from tests.faults.processes import started, wait_until
from tests.faults.test_training_killed import STEPS, command, model, steps

SOON = {"RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2"}


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    with started_nodes(2, **SOON) as found:
        yield found


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("undisturbed")
    cli.run(*command(folder))
    return model(folder)


def trainers(node: Node) -> list[int]:
    """Processes of a node that train."""
    return [pid for pid, line in node.commands().items() if "RayTrainWorker" in line]


def disturbed(nodes: Nodes, folder: Path, workers: int, hits: list[str]) -> str:
    """A training of which a node or a worker is killed at each of so many later steps; what it says."""
    remote = [*command(folder, f"run.train_workers={workers}"), "--address", nodes.address]
    remote.remove("--runner"), remote.remove("local")
    with started(*remote, **nodes.env) as run:
        for number, hit in enumerate(hits, 1):
            least = steps(folder) + STEPS // (len(hits) + 4)
            wait_until(lambda least=least: steps(folder) >= least or run.ended, f"step {least}", timeout=200)
            assert not run.ended, f"over before kill {number}\n{run.output}"
            node = next(node for node in nodes.workers if node.alive and trainers(node))
            if hit == "node":
                node.kill()
                nodes.bring_back(node, wait=False)
            else:
                for pid in trainers(node):
                    psutil.Process(pid).kill()
        return run.wait(0, timeout=400)


def test_a_training_that_advances_survives_any_number_of_losses(
    nodes: Nodes, reference: bytes, tmp_path: Path
) -> None:
    """Four, which is more than may happen without progress."""
    output = disturbed(nodes, tmp_path, 1, ["worker", "node", "worker", "worker"])
    assert output.count("goes on from checkpoint solv/step-") == 4, output
    assert "Traceback" not in output
    assert model(tmp_path) == reference


def test_two_workers_of_which_a_node_is_lost_give_the_model_to_rounding(
    nodes: Nodes, reference: bytes, tmp_path: Path
) -> None:
    """Both have to begin anew together, once there is room for two."""
    disturbed(nodes, tmp_path, 2, ["node"])
    found, calm = load(model(tmp_path)), load(reference)
    assert found.keys() == calm.keys()
    for name, value in calm.items():
        assert torch.allclose(value, found[name], rtol=1e-3, atol=1e-4), name
    assert json.loads(next(tmp_path.glob("store/model/*/stage.json")).read_text())["kind"] == "model"
