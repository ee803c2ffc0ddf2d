"""A worker and a node lost while they train: the training goes on from its checkpoint, to the same model."""

from __future__ import annotations

import shutil
from pathlib import Path

import psutil

from tests.cluster.nodes import Node, started_nodes
from tests.faults.gates import held_before
from tests.faults.processes import started, wait_until
from tests.faults.test_training_killed import command, model, steps

STEPS = 20
SOON = {"RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2"}


def trainers(node: Node) -> list[int]:
    """Processes of a node that train."""
    return [pid for pid, line in node.commands().items() if "RayTrainWorker" in line]


def test_two_workers_of_which_one_is_killed_and_then_a_node_lost_give_the_undisturbed_bytes(
    tmp_path: Path,
) -> None:
    """Both have to begin anew together, once there is room for two.

    The undisturbed training has two processes as well, for each of them draws its own dropped tokens: one
    alone gives another model. It goes without Ray, and lends its features.
    """
    calm, disturbed = tmp_path / "calm", tmp_path / "disturbed"
    same = (f"data.root={tmp_path / 'videos'}", f"train.steps={STEPS}", "run.train_workers=2")
    first, second = held_before(STEPS // 4, tmp_path), held_before(STEPS // 2, tmp_path)
    with (
        first as (one, env),
        second as (other, _),
        started(*command(calm, *same)) as undisturbed,
        started_nodes(2, **SOON, **env) as nodes,
    ):
        wait_until(lambda: steps(calm) or undisturbed.ended, "features")
        for kind in ("catalog", "features"):
            shutil.copytree(calm / "store" / kind, disturbed / "store" / kind)
        remote = [*command(disturbed, *same), "--address", nodes.address]
        remote.remove("--runner"), remote.remove("local")
        with started(*remote, **nodes.env) as run:
            for hit, gate in (("worker", one), ("node", other)):
                run.until(lambda gate=gate: gate.reached, f"step in which the {hit} is killed")
                node = next(node for node in nodes.workers if node.alive and trainers(node))
                if hit == "node":
                    node.kill()
                    nodes.bring_back(node, wait=False)
                else:
                    for pid in trainers(node):
                        psutil.Process(pid).kill()
                gate.open()
            output = run.wait(0, timeout=400)
        undisturbed.wait(0)
    assert output.count("goes on from checkpoint solv/step-") == 2, output
    assert "Traceback" not in output
    assert model(disturbed) == model(calm)
