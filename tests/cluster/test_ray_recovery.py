"""Lost nodes under a chain of toy stages: what is left is made again, and the user hears of it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster import ray_recovery, ray_setup
from cluster.chain import Receipt, Task
from cluster.local import LocalRunner
from cluster.ray_checks import check_nodes
from cluster.resources import ResourcesError
from tests.cluster.nodes import Nodes, started_nodes
from tests.cluster.test_local import content, tasks
from tests.cluster.toy import make_chain
from tests.faults.gates import shut
from tests.faults.processes import PATIENCE_S, wait_until
from tests.outside import PROJECT

ROOM = ray_recovery.Room(lambda: 1, "a CPU")
WORK = tuple(f"v{n},x{n}" for n in range(10))
DRIVER = """
import sys
from pathlib import Path
from cluster.on_ray import RayRunner
from tests.cluster.test_local import tasks
from tests.cluster.test_ray_recovery import WORK
from tests.cluster.toy import make_chain
runner = RayRunner(2, address=sys.argv[2], tell=lambda text: print(text, flush=True))
for receipt in runner.run(make_chain(Path(sys.argv[1]), "ab"), tasks(*WORK), "run"):
    print("made", receipt.level, receipt.shard, receipt.error, flush=True)
"""


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    with started_nodes(2) as found:
        yield found


def test_a_run_waits_without_nodes_and_ends_on_the_one_that_comes_back(nodes: Nodes, tmp_path: Path) -> None:
    """Both nodes are lost, one returns: nothing waits for the other, and nothing is told twice."""
    ours, calm = tmp_path / "ours", tmp_path / "calm"
    ours.mkdir(), calm.mkdir()
    chain, log = make_chain(ours, "ab"), tmp_path / "log"
    held = shut(*(ours / f"b-v{n}" for n in range(2, len(WORK))))  # of these one on each node, soon
    with log.open("w") as out, held as gates:
        driver = subprocess.Popen(
            [sys.executable, "-c", DRIVER, str(ours), nodes.address],
            env={**nodes.env, "PYTHONPATH": str(PROJECT)},
            stdout=out,
            stderr=subprocess.STDOUT,
        )
        try:
            wait_until(lambda: sum(gates.arrivals) == 2 or driver.poll() is not None, "shards in the middle")
            for node in nodes.workers:
                node.kill()
            gates.open()
            wait_until(lambda: "waiting for nodes" in log.read_text() or driver.poll() is not None, "waiting")
            assert len(chain[1].artifact.committed()) <= 2, "the run was over before its nodes were lost"
            nodes.bring_back(nodes.workers[0])
            assert driver.wait(PATIENCE_S) == 0, log.read_text()
        finally:
            driver.kill()
            driver.wait()
    lines = log.read_text().splitlines()
    made = [line for line in lines if line.startswith("made")]
    assert len(made) == len(set(made))
    assert sum("is lost" in line for line in lines) == 2, lines
    assert sum(line.startswith("going on: 1 of 2 workers") for line in lines) == 1, lines
    waiting = next(n for n, line in enumerate(lines) if line.startswith("waiting for nodes"))
    assert any(line.startswith("made") for line in lines[waiting:]), "it has gone on"
    assert any("shards were left by lost workers and are made again" in line for line in lines), lines
    assert not any("Traceback" in line or "(raylet)" in line for line in lines), lines
    other = make_chain(calm, "ab")
    list(LocalRunner().run(other, tasks(*WORK), "run"))
    assert content(chain) == content(other)


@pytest.fixture(scope="module")
def local_ray() -> Iterator[None]:
    ray_setup.connect(None, 2)
    yield
    ray_setup.ray.shutdown()


def test_a_node_that_is_lost_while_it_is_asked_is_left_out(
    local_ray: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was there when the nodes were listed; any other one has to answer."""
    chain, nodes = make_chain(tmp_path), ray_setup.ray.nodes
    lost = {**nodes()[0], "NodeID": "0" * 56}
    listings = iter([[*nodes(), lost]])
    monkeypatch.setattr(ray_setup.ray, "nodes", lambda: next(listings, None) or nodes())
    check_nodes(chain)
    chain[0].artifact.stage_json.unlink()
    with pytest.raises(ResourcesError, match=r"stage\.json"):
        check_nodes(chain)


def task(shard: str, level: int = 0) -> Task:
    return Task(level, shard)


def test_each_receipt_comes_once_however_often_a_graph_is_lost(local_ray: None) -> None:
    """A graph that ends in an error, one that loses a follower, one that meets both again."""
    rounds: list[list[str]] = []
    follower = Receipt(1, "000001-00")

    def make(todo, workers):
        rounds.append([t.shard for t in todo])
        if len(rounds) == 1:
            yield Receipt(0, "000000")
            raise ray_setup.ray.exceptions.ActorDiedError()
        yield Receipt(0, "000001", following=1)
        if len(rounds) == 3:
            yield follower

    told: list[str] = []
    todo = [task("000000"), task("000001")]
    found = list(ray_recovery.in_rounds(todo, make, 1, ROOM, told.append))
    assert [receipt.shard for receipt in found] == ["000000", "000001", "000001-00"]
    assert rounds == [["000000", "000001"], ["000001"], ["000001"]]
    assert [text.split(" ", 1)[0] for text in told] == ["1", "1"]


def test_a_run_that_gets_nowhere_gives_up(local_ray: None) -> None:
    def make(todo, workers):
        raise ray_setup.ray.exceptions.ActorDiedError()
        yield

    told: list[str] = []
    with pytest.raises(ResourcesError, match=r"workers of 1 shards were lost 7 times in a row .*ActorDied"):
        list(ray_recovery.in_rounds([task("000000")], make, 1, ROOM, told.append))


def test_tasks_of_one_first_shard_are_done_together() -> None:
    left = ray_recovery.Left([task("000000-00", 1), task("000000-01", 1), task("000001-00", 1)])
    assert len(left.begin()) == 3
    assert left.take(Receipt(1, "000000-00"))
    assert left.take(Receipt(1, "000001-00", following=0))
    assert [t.shard for t in left.begin()] == ["000000-00", "000000-01"]
    assert not left.take(Receipt(1, "000000-00")), "it was there before"
    assert left.take(Receipt(1, "000000-01"))
    assert not left.begin()
