from __future__ import annotations

import pytest

from cluster.chain import Task
from cluster.execute import MAX_STARTS, ShardExecutor
from cluster.local import LocalRunner
from stages.artifacts import leases
from stages.stage import WorkContext
from tests.cluster.toy import ToyFit, make_chain


def tasks(*shards: str) -> list[Task]:
    """One task per text; its characters, or comma-separated parts, are the items."""
    return [
        Task(0, f"{n:06d}", items=[{"uri": uri} for uri in text.split(",")], count=text.count(",") + 1)
        for n, text in enumerate(shards)
    ]


def content(chain):
    return {
        (bound.stage.name, path.name): path.read_bytes()
        for bound in chain
        for folder in ("shards", "manifest", "rejects")
        for path in sorted((bound.artifact.root / folder).iterdir())
        if not path.name.startswith(".")  # a killed worker may leave an invisible temporary file
    }


@pytest.mark.parametrize("workers", [1, 3])
def test_chains_of_any_length_stream_through(tmp_path, workers):
    chain = make_chain(tmp_path, "abc")
    receipts = list(LocalRunner(workers).run(chain, tasks("a,b,c", "d,bad"), "run"))
    assert sorted((r.level, r.shard) for r in receipts) == [
        (0, "000000"),
        (0, "000001"),
        (1, "000000-00"),
        (1, "000000-01"),
        (1, "000001-00"),
        (2, "000000-00-00"),
        (2, "000000-01-00"),
        (2, "000001-00-00"),
    ]
    assert sum(r.done for r in receipts if r.level == 2) == 4


def test_in_process_a_shard_goes_on_before_the_next_begins(tmp_path):
    chain = make_chain(tmp_path)
    receipts = list(LocalRunner().run(chain, tasks("a", "b"), "run"))
    assert [(r.level, r.shard) for r in receipts] == [
        (0, "000000"),
        (1, "000000-00"),
        (0, "000001"),
        (1, "000001-00"),
    ]
    assert (tmp_path / "closed-a").exists() and (tmp_path / "closed-b").exists()


def test_one_and_several_workers_give_the_same_bytes(tmp_path):
    found = []
    for workers in (1, 4):
        chain = make_chain(tmp_path / str(workers))
        (tmp_path / str(workers)).mkdir(exist_ok=True)
        list(LocalRunner(workers).run(chain, tasks("a,b,c", "bad,d", "skip,e,f"), "run"))
        found.append(content(chain))
    assert found[0] == found[1]
    assert len(found[0]) > 8


def test_a_killed_worker_costs_only_its_shard(tmp_path):
    chain = make_chain(tmp_path)
    receipts = list(LocalRunner(2).run(chain, tasks("a,kill", "b", "c,d", "e"), "run"))
    assert len(chain[0].artifact.committed()) == 4
    assert sum(r.done for r in receipts if r.level == 1) == 6
    assert list((chain[0].artifact.root / "attempts").iterdir()) == []


def test_a_shard_that_always_kills_its_worker_ends_the_run(tmp_path):
    chain = make_chain(tmp_path, "a")
    receipts = list(LocalRunner(2).run(chain, tasks("killalways"), "run"))
    assert receipts[-1].error_kind == "settings"
    assert f"killed its worker {MAX_STARTS} times" in receipts[-1].error


def test_an_abandoned_run_stops_its_workers(tmp_path):
    import multiprocessing

    chain = make_chain(tmp_path)
    receipts = LocalRunner(2).run(chain, tasks("a", "b", "c", "d"), "run")
    next(receipts)
    receipts.close()
    assert multiprocessing.active_children() == []


def test_a_fit_stage_runs_here(tmp_path):
    import os

    folder = tmp_path / "model"
    folder.mkdir()
    LocalRunner().fit(ToyFit(), [tmp_path / "in"], folder, WorkContext(str(tmp_path), tmp_path))
    assert (folder / "model.txt").read_text() == f"['in'] {os.getpid()}"


def test_a_bug_in_a_pool_comes_back_as_a_receipt_and_leaves_nothing(tmp_path):
    (bound,) = chain = make_chain(tmp_path, "a")
    (receipt,) = LocalRunner(2).run(chain, tasks("a,bug"), "run")
    assert receipt.error_kind == "bug"
    assert "ZeroDivisionError" in receipt.error
    assert list((bound.artifact.root / "shards").iterdir()) == [], "the half-made shard is removed"
    assert bound.artifact.committed() == []


@pytest.mark.parametrize("workers", [1, 2])
def test_what_another_run_is_making_is_left_to_it(tmp_path, workers):
    chain = make_chain(tmp_path)
    with leases.take(chain[0].artifact.lease("000000"), "other"):
        receipts = list(LocalRunner(workers).run(chain, tasks("a", "b"), "run"))
    held = [receipt for receipt in receipts if receipt.held]
    assert [(r.level, r.shard, r.next, r.seconds) for r in held] == [(0, "000000", [], 0.0)]
    assert held[0].held.startswith("run other on ")
    assert chain[0].artifact.committed() == ["000001"] and len(receipts) == 3
    assert list((chain[0].artifact.root / "leases").iterdir()) == []


def test_a_shard_that_another_run_has_made_meanwhile_is_no_error(tmp_path):
    """Its lease lost, a run may even find that what it reads was dropped after use."""
    (bound,) = chain = make_chain(tmp_path, "a")
    (task,) = tasks("a")
    executor = ShardExecutor(chain, 0, "run")

    def overtaken(*_):
        bound.artifact.lease(task.shard).unlink()
        assert ShardExecutor(chain, 0, "other")(task).done == 1
        raise FileNotFoundError("dropped after use")

    executor._process = overtaken
    receipt = executor(task)
    assert (receipt.error, receipt.held, receipt.done) == ("", "", 1)
    bound.artifact.manifest(task.shard).unlink()
    executor._process = lambda *_: 1 / 0
    assert executor(task).error_kind == "bug", "of its own errors it tells"
