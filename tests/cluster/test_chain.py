from __future__ import annotations

from cluster.chain import UPSTREAM_FAILED, Receipt, Task, items_below, items_of, tasks_below
from cluster.execute import ShardExecutor
from stages.artifacts import manifest
from tests.cluster.toy import make_chain


def first(*videos: str, shard: str = "000000") -> Task:
    return Task(0, shard, items=[{"uri": video} for video in videos], count=len(videos))


def outcomes(chain, level, shard):
    footer = manifest.read_footer(chain[level].artifact.manifest(shard))
    return {o["video"]: (o["status"], o.get("reason")) for o in footer.outcomes}


def test_a_task_survives_the_journey():
    task = Task(1, "000003-01", upstream="000003", start=2, stop=4, videos=["a"], frames=7, bytes=9)
    assert Task.load(task.dump()) == task
    assert Task.load(first("ü \udcff").dump()) == first("ü \udcff")


def test_a_receipt_travels_without_what_follows():
    receipt = Receipt(0, "000000", done=2, next=[Task(1, "x")])
    assert Receipt(**receipt.dump()) == Receipt(0, "000000", done=2, following=1)


def test_bad_videos_are_handed_on_by_name(tmp_path):
    chain = make_chain(tmp_path, videos=10)
    ShardExecutor(chain, 0, "run")(first("a", "bad", "skip", "skip-unchanged", "b"))
    rows = items_below(chain[0], "000000")
    assert [row["video"] for row in rows] == ["a", "b", "bad", "skip"]
    assert [row.get(UPSTREAM_FAILED) for row in rows] == [None, None, "toy: crash", "toy: skipped it is"]
    (task,) = tasks_below(chain, 0, "000000")
    ShardExecutor(chain, 1, "run")(task)
    assert outcomes(chain, 1, "000000-00") == {
        "a": ("done", None),
        "b": ("done", None),
        "bad": ("skipped", "toy: crash"),
        "skip": ("skipped", "toy: skipped it is"),
    }
    assert chain[1].artifact.shard("000000-00").read_text() == "a b of a\nb b of a\n"


def test_followers_are_cut_by_the_layout_and_read_their_slice(tmp_path):
    chain = make_chain(tmp_path)
    receipt = ShardExecutor(chain, 0, "run")(first("a", "b", "c"))
    assert [(t.shard, t.start, t.stop, t.frames, t.bytes) for t in receipt.next] == [
        ("000000-00", 0, 2, 2, 20),
        ("000000-01", 2, 3, 1, 10),
    ]
    assert [row["video"] for row in items_of(chain, receipt.next[1])] == ["c"]
    retry = Task(1, "000000-r00", upstream="000000", videos=["b"])
    assert [row["video"] for row in items_of(chain, retry)] == ["b"]


def test_a_committed_shard_is_not_made_again(tmp_path):
    chain = make_chain(tmp_path)
    execute = ShardExecutor(chain, 0, "run")
    made, again = execute(first("a")), execute(first("a"))
    assert made.seconds > 0 and again.seconds == 0
    assert (again.done, again.next) == (made.done, made.next)
    follower = ShardExecutor(chain, 1, "run")
    follower(made.next[0])
    assert tasks_below(chain, 0, "000000") == []
    assert len(tasks_below(chain, 0, "000000", committed=True)) == 1


def test_a_bug_is_reported_and_leaves_nothing_behind(tmp_path):
    chain = make_chain(tmp_path)
    receipt = ShardExecutor(chain, 0, "run")(first("a", "bug"))
    assert receipt.error_kind == "bug"
    assert "ZeroDivisionError" in receipt.error and "000000" in receipt.error
    assert chain[0].artifact.committed() == []
    assert list((chain[0].artifact.root / "shards").iterdir()) == []


def test_an_incomplete_worker_is_a_bug(tmp_path, monkeypatch):
    chain = make_chain(tmp_path)
    monkeypatch.setattr("tests.cluster.toy.ToyWorker.process", lambda *_: iter(()))
    receipt = ShardExecutor(chain, 0, "run")(first("a"))
    assert receipt.error_kind == "bug" and "0 outcomes for 1 items" in receipt.error


def test_a_retry_reads_the_wanted_videos_only(tmp_path):
    chain = make_chain(tmp_path)
    ShardExecutor(chain, 0, "run")(first("a", "b", "c"))
    retry = Task(1, "000000-r00", upstream="000000", videos=["c", "a"])
    assert [row["video"] for row in items_of(chain, retry)] == ["a", "c"]
