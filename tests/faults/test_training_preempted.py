"""Nodes lost while they train: the training goes on from its last checkpoint, to the same model."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests import cli
from tests.cluster.nodes import Node, Nodes, started_nodes
from tests.faults.processes import started, wait_until
from tests.faults.test_training_killed import command, model, steps

STEPS = 60
SOON = {"RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2"}
Start = Callable[[Path, int], list[object]]


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    with started_nodes(2, **SOON) as found:
        yield found


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Start:
    """A function that gives the command line of a training in a folder, where it finds its features.

    It takes the number of the processes that train. Their models differ by more than rounding: every
    process draws its own dropped tokens.
    """
    base = tmp_path_factory.mktemp("features")
    cli.run(*command(base, "train.steps=1"))

    def given(folder: Path, workers: int) -> list[object]:
        for kind in ("catalog", "features"):
            shutil.copytree(base / "store" / kind, folder / "store" / kind)
        settings = (f"data.root={base / 'videos'}", f"train.steps={STEPS}", f"run.train_workers={workers}")
        return command(folder, *settings)

    return given


def trainers(node: Node) -> list[int]:
    """Processes of a node that train."""
    return [pid for pid, line in node.commands().items() if "RayTrainWorker" in line]


@pytest.mark.parametrize(("workers", "hits"), [(1, ["worker", "node"]), (2, ["node"])])
def test_a_training_of_which_a_worker_or_a_node_is_lost_gives_the_same_bytes(
    nodes: Nodes, start: Start, tmp_path: Path, workers: int, hits: list[str]
) -> None:
    """Two have to begin anew together, once there is room for both."""
    (calm := tmp_path / "calm").mkdir()
    cli.run(*start(calm, workers))
    (folder := tmp_path / "disturbed").mkdir()
    remote = [*start(folder, workers), "--address", nodes.address]
    remote.remove("--runner"), remote.remove("local")
    with started(*remote, **nodes.env) as run:
        for number, hit in enumerate(hits, 1):
            least = steps(folder) + STEPS // (len(hits) + 2)
            wait_until(lambda least=least: steps(folder) >= least or run.ended, f"step {least}", timeout=200)
            assert not run.ended, f"over before kill {number}\n{run.output}"
            node = next(node for node in nodes.workers if node.alive and trainers(node))
            if hit == "node":
                node.kill()
                nodes.bring_back(node, wait=False)
            else:
                for pid in trainers(node):
                    psutil.Process(pid).kill()
        output = run.wait(0, timeout=400)
    assert output.count("goes on from checkpoint solv/step-") == len(hits), output
    assert "Traceback" not in output
    assert model(folder) == model(calm)
