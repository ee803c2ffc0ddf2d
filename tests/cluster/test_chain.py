from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq

from cluster.chain import UPSTREAM_FAILED, Receipt, Task, items_below, items_of, tasks_below
from cluster.execute import ShardExecutor
from tests.cluster.toys import Doubles, Numbers, bind, items


def make(chain, *videos: str, shard: str = "000000") -> Receipt:
    """Commit a shard of the first stage."""
    return ShardExecutor(chain, 0, "test")(Task(0, shard, items=items(*videos), count=len(videos)))


def test_a_shard_hands_on_its_rows_then_a_tombstone_for_every_other_video(tmp_path: Path) -> None:
    chain = bind(tmp_path, Numbers(), Doubles())
    make(chain, "a", "bad_b", "c", "same_d")
    assert items_below(chain[0].artifact, "000000") == [
        {"video": "a", "number": 0},
        {"video": "c", "number": 2},
        {"video": "bad_b", UPSTREAM_FAILED: "numbers: decode_error"},
    ]


def test_shards_below_follow_from_the_layout_of_their_artifact(tmp_path: Path) -> None:
    chain = bind(tmp_path, Numbers(), Doubles())
    receipt = make(chain, "a", "b", "bad_c", "d", "e")
    tasks = tasks_below(chain, 0, "000000")
    assert receipt.next == tasks
    assert [(t.shard, t.upstream, t.start, t.stop, t.count) for t in tasks] == [
        ("000000-00", "000000", 0, 2, 2),
        ("000000-01", "000000", 2, 4, 2),
        ("000000-02", "000000", 4, 5, 1),
    ]
    assert [(t.frames, t.bytes) for t in tasks] == [(2, 20), (2, 20), (0, 0)]
    assert [row["video"] for t in tasks for row in items_of(chain, t)] == ["a", "b", "d", "e", "bad_c"]
    assert tasks_below(chain, 1, "000000-00") == []


def test_committed_shards_below_are_left_out_unless_asked_for(tmp_path: Path) -> None:
    chain = bind(tmp_path, Numbers(), Doubles(plus=1))
    first, second = make(chain, "a", "b", "c").next
    ShardExecutor(chain, 1, "test")(first)
    assert tasks_below(chain, 0, "000000") == [second]
    assert tasks_below(chain, 0, "000000", committed=True) == [first, second]


def test_a_shard_of_touched_files_only_leads_to_nothing(tmp_path: Path) -> None:
    chain = bind(tmp_path, Numbers(), Doubles())
    assert make(chain, "same_a", "same_b").next == []
    assert items_below(chain[0].artifact, "000000") == []


def test_a_tombstone_becomes_a_skip(tmp_path: Path) -> None:
    chain = bind(tmp_path, Numbers(), Doubles())
    (task,) = make(chain, "bad_a").next
    receipt = ShardExecutor(chain, 1, "test")(task)
    assert (receipt.done, receipt.skipped, receipt.rejected) == (0, 1, 0)
    assert pq.read_table(chain[1].artifact.shard(task.shard)).num_rows == 0


def test_a_retry_has_the_wanted_videos_only(tmp_path: Path) -> None:
    chain = bind(tmp_path, Numbers(), Doubles())
    make(chain, "a", "b", "c")
    task = Task(1, "000000-r00", upstream="000000", videos=["c", "a"])
    assert [row["video"] for row in items_of(chain, task)] == ["a", "c"]


def test_tasks_travel_as_text() -> None:
    task = Task(1, "000000-00", upstream="000000", start=2, stop=4, videos=["ä"], replace=True, frames=7)
    assert Task.load(task.dump()) == task
    assert Task.load(Task(0, "000000", items=items("a")).dump()).items == items("a")


def test_a_receipt_travels_without_the_tasks_that_follow(tmp_path: Path) -> None:
    receipt = make(bind(tmp_path, Numbers(), Doubles()), "a")
    assert receipt.next
    copy = Receipt(**receipt.dump())
    assert copy.next == []
    assert (copy.shard, copy.done, copy.bytes) == (receipt.shard, 1, receipt.bytes)
