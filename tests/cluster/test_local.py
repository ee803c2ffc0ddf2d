from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from cluster.chain import Chain, Receipt, Task
from cluster.execute import MAX_STARTS
from cluster.local import LocalRunner
from stages.stage import WorkContext
from tests import cli
from tests.cluster.toys import Doubles, Numbers, Total, bind, items


def first_tasks(*shards: tuple[str, ...]) -> list[Task]:
    return [Task(0, f"{n:06d}", items=items(*videos), count=len(videos)) for n, videos in enumerate(shards)]


def run(chain: Chain, tasks: list[Task], workers: int) -> list[Receipt]:
    return list(LocalRunner(workers).run(chain, tasks, "test"))


def names(folder: Path, pattern: str) -> list[str]:
    return sorted(path.name for path in folder.glob(pattern))


@pytest.mark.parametrize("workers", [1, 2])
def test_shards_and_all_that_follows_from_them_are_made(workers: int, tmp_path: Path) -> None:
    chain = bind(tmp_path, Numbers(plus=10), Doubles(plus=100))
    receipts = run(chain, first_tasks(("a", "b", "bad_c"), ("d",)), workers)
    assert sorted((r.level, r.shard, r.done, r.skipped, r.rejected) for r in receipts) == [
        (0, "000000", 2, 0, 1), (0, "000001", 1, 0, 0),
        (1, "000000-00", 2, 0, 0), (1, "000000-01", 0, 1, 0), (1, "000001-00", 1, 0, 0),
    ]  # fmt: skip
    rows = pq.read_table(chain[1].artifact.root / "shards").to_pylist()
    assert {row["video"]: row["number"] for row in rows} == {"a": 110, "b": 111, "d": 110}


def test_one_worker_finishes_what_follows_from_a_shard_before_the_next(tmp_path: Path) -> None:
    receipts = run(bind(tmp_path, Numbers(), Doubles()), first_tasks(("a", "b", "c"), ("d",)), 1)
    assert [r.shard for r in receipts] == ["000000", "000000-00", "000000-01", "000001", "000001-00"]


def test_pools_give_the_bytes_of_one_worker(tmp_path: Path) -> None:
    tasks = first_tasks(("a", "bad_b", "c"), ("d",), ("e", "f", "g"))
    for workers in (1, 3):
        run(bind(tmp_path / str(workers), Numbers(), Doubles()), tasks, workers)
    assert cli.digests(tmp_path / "1") == cli.digests(tmp_path / "3") != {}


def test_a_worker_sets_its_stage_up_once_and_closes_it(tmp_path: Path) -> None:
    run(bind(tmp_path, Numbers()), first_tasks(("a",), ("b",)), 1)
    assert len(names(tmp_path, "worker-*.closed")) == 1
    (log,) = [p for p in tmp_path.glob("worker-*") if not p.suffix]
    assert log.read_text().split() == ["a", "b"]


def test_a_committed_shard_is_not_made_again(tmp_path: Path) -> None:
    chain, tasks = bind(tmp_path, Numbers()), first_tasks(("a",))
    run(chain, tasks, 1)
    log = next(p for p in tmp_path.glob("worker-*") if not p.suffix)
    log.unlink()
    (receipt,) = run(chain, tasks, 1)
    assert (receipt.done, receipt.seconds) == (1, 0)
    assert not log.exists()


def test_a_worker_that_dies_once_costs_a_restart(tmp_path: Path) -> None:
    """The shards that were under way in the broken pool are done in a new one, all of them once."""
    chain = bind(tmp_path, Numbers(), Doubles())
    receipts = run(chain, first_tasks(("a",), ("die",), ("b",), ("c",)), 2)
    assert sorted(r.shard for r in receipts if r.level == 1) == [f"{n:06d}-00" for n in range(4)]
    assert all(r.done == 1 and not r.error for r in receipts)
    assert not names(chain[0].artifact.root, "attempts/*")


def test_a_shard_that_always_kills_its_worker_ends_the_run(tmp_path: Path) -> None:
    receipts = run(bind(tmp_path, Numbers()), first_tasks(("mortal",)), 2)
    (failed,) = [r for r in receipts if r.error]
    assert failed.error_kind == "settings"
    assert f"has killed its worker {MAX_STARTS} times" in failed.error


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(("video", "kind", "text"), [("bug", "bug", "ZeroDivisionError"), ("settings", "settings", "")])
def test_faults_come_back_as_receipts(video: str, kind: str, text: str, workers: int, tmp_path: Path) -> None:
    chain = bind(tmp_path, Numbers())
    (receipt,) = run(chain, first_tasks(("a", video)), workers)
    assert receipt.error_kind == kind
    assert text in receipt.error
    assert names(chain[0].artifact.root, "shards/.*") == [], "the half-made shard is removed"
    assert chain[0].artifact.committed() == []


def test_leaving_early_ends_the_pool(tmp_path: Path) -> None:
    import psutil

    receipts = LocalRunner(2).run(bind(tmp_path, Numbers()), first_tasks(("a",), ("b",), ("c",), ("d",)), "test")
    next(iter(receipts))
    receipts.close()  # type: ignore[attr-defined]
    workers = [p for p in psutil.Process().children() if "spawn_main" in " ".join(p.cmdline())]
    assert not [p for p in workers if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


def test_a_fit_stage_runs_here(tmp_path: Path) -> None:
    chain = bind(tmp_path, Numbers(plus=1))
    run(chain, first_tasks(("a", "b")), 1)
    (tmp_path / "model").mkdir()
    context = WorkContext(data_root=str(tmp_path), scratch=tmp_path, device="cpu")
    LocalRunner().fit(Total(), [chain[0].artifact.root], tmp_path / "model", context)
    assert (tmp_path / "model" / "model.json").read_text() == '{"total": 3, "device": "cpu"}'
