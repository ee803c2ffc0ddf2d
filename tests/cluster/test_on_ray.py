from __future__ import annotations

import contextlib
import os

import pytest

from cluster import ray_setup
from cluster.chain import Task
from cluster.execute import MAX_STARTS
from cluster.local import LocalRunner
from cluster.on_ray import RayRunner
from cluster.resources import ResourcesError
from stages.artifacts import leases
from stages.stage import WorkContext
from tests.cluster.test_local import content, tasks
from tests.cluster.toy import ToyFit, make_chain

WORK = ("a,b,c", "bad,d", "skip,e,f", "g,kill", "h")


@pytest.fixture(scope="module", autouse=True)
def local_ray(tmp_path_factory):
    """One Ray for all tests here: a runner starts it for its first work, others leave it alone."""
    runner = RayRunner(2)
    assert not runner.nodes(), "Ray is there before there is work"
    with contextlib.closing(runner):
        list(runner.run(make_chain(tmp_path_factory.mktemp("first"), "a"), tasks("a"), "run"))
        yield runner
        assert runner.nodes(), "a runner stopped a Ray that was not its own"
    assert not runner.nodes() and not ray_setup.ray.is_initialized()


def test_a_chain_streams_through_one_graph_with_the_local_runners_bytes(tmp_path):
    """Three stages, two workers, one of which is killed on the way."""
    found = []
    for name, runner in (("ray", RayRunner(2)), ("local", LocalRunner(2))):
        folder = tmp_path / name
        folder.mkdir()
        chain = make_chain(folder, "abc")
        receipts = list(runner.run(chain, tasks(*WORK), "run"))
        assert [r.error for r in receipts if r.error] == []
        assert sum(r.done for r in receipts if r.level == 2) == 9
        found.append((content(chain), sorted((r.level, r.shard) for r in receipts)))
    (on_ray_files, on_ray_receipts), (local_files, local_receipts) = found
    assert on_ray_receipts == local_receipts
    assert [name for name in local_files if on_ray_files.get(name) != local_files[name]] == []
    assert len(on_ray_files) == len(local_files)


def test_a_fit_stage_runs_on_ray_train(tmp_path):
    """On the CPUs that the owners of another graph have just held, as in a run with a training."""
    folder = tmp_path / "model"
    folder.mkdir()
    RayRunner(1).fit(ToyFit(), [tmp_path / "in"], folder, WorkContext(str(tmp_path), tmp_path))
    inputs, pid = (folder / "model.txt").read_text().rsplit(" ", 1)
    assert inputs == "['in']"
    assert int(pid) != os.getpid()
    assert [path.name for path in folder.iterdir()] == ["model.txt"], "Ray Train's own record is gone"


def test_work_left_at_a_later_stage_starts_no_earlier_one(tmp_path):
    chain = make_chain(tmp_path, "ab")
    list(LocalRunner().run(chain[:1], tasks("a,b"), "run"))
    (tmp_path / "closed-a").unlink()
    rest = [Task(1, "000000-00", upstream="000000", start=0, stop=2)]
    receipts = list(RayRunner(2).run(chain, rest, "run"))
    assert [(r.level, r.shard, r.done) for r in receipts] == [(1, "000000-00", 2)]


def test_a_fast_stage_does_not_run_far_ahead_of_a_slow_one(tmp_path):
    """Else all features of a corpus would be on disk before the first of them are read."""
    chain = make_chain(tmp_path, "ab")
    ahead, done = [], 0
    for receipt in RayRunner(1).run(chain, tasks(*(f"slow{n}" for n in range(16))), "run"):
        done += receipt.level == 1
        ahead.append(len(chain[0].artifact.committed()) - len(chain[1].artifact.committed()))
    assert done == 16
    assert max(ahead) <= 5, "two wait, one is being read, one is being made, one is on its way"


def test_what_must_stop_the_run_arrives(tmp_path):
    chain = make_chain(tmp_path, "ab")
    receipts = list(RayRunner(1).run(chain, tasks("a,bug"), "run"))
    assert [r.error_kind for r in receipts] == ["bug"]
    assert "ZeroDivisionError" in receipts[0].error


def test_what_waits_for_a_shard_made_anew_follows_it_at_any_level(tmp_path):
    chain = make_chain(tmp_path, "abc")
    list(LocalRunner().run(chain[:2], tasks("x", "y"), "run"))
    chain[0].artifact.shard("000000").unlink()
    last = Task(2, "000000-00-00", upstream="000000-00", start=0, stop=1)
    again = Task(0, "000000", items=[{"uri": "x"}], replace=True, follow=False, then=[last])
    receipts = list(RayRunner(1).run(chain, [again], "run"))
    assert [(r.level, r.shard, r.again) for r in receipts] == [
        (0, "000000", True),
        (2, "000000-00-00", False),
    ]
    assert chain[0].artifact.shard("000000").exists()


def test_more_workers_than_cpus_are_refused(tmp_path):
    (cpus,) = (node["cpus"] for node in RayRunner(1).nodes().values())
    workers = 32 * int(cpus)
    says = rf"{2 * workers} shard owners .* 0.5 CPU each.* room for {2 * cpus:g} .* {cpus:g} CPU"
    with pytest.raises(ResourcesError, match=says):
        list(RayRunner(workers).run(make_chain(tmp_path), tasks("a"), "run"))


def test_a_node_that_does_not_see_the_data_is_named(tmp_path):
    (bound,) = make_chain(tmp_path, "a")
    elsewhere = type(bound)(bound.stage, bound.artifact, WorkContext("/nowhere/at/all", tmp_path))
    with pytest.raises(ResourcesError, match=r"node .* doesn't see /nowhere/at/all"):
        list(RayRunner(1).run((elsewhere,), tasks("a"), "run"))


def test_a_shard_ends_the_run_that_has_killed_workers_on_living_nodes(tmp_path, local_ray):
    """Those that died with their node don't count."""
    (bound,) = chain = make_chain(tmp_path, "a")
    (here,) = (node["NodeID"] for node in ray_setup.ray.nodes())
    for shard, node in (("000000", here), ("000001", "lost")):
        for _ in range(MAX_STARTS):
            leases.take(bound.artifact.lease(shard), "run", node)
    found = {r.shard: r.error for r in local_ray.run(chain, tasks("a", "b"), "run")}
    assert f"shard 000000 has killed its worker {MAX_STARTS} times" in found["000000"]
    assert found["000001"] == "" and bound.artifact.committed() == ["000001"]
