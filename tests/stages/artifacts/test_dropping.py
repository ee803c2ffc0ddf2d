"""Shards removed after use: marks, files, and what a commit makes of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cluster.chain import Task
from cluster.execute import ShardExecutor
from cluster.local import LocalRunner
from stages.artifacts.dropping import drop, keep
from stages.artifacts.layout import Artifact
from stages.artifacts.ledger import Ledger
from tests.cluster.toy import make_chain

ITEMS = [{"uri": "a"}, {"uri": "b"}]


def committed(folder: Path) -> Artifact:
    """A toy artifact of one shard with two videos."""
    chain = make_chain(folder, "a")
    list(LocalRunner().run(chain, [Task(0, "000000", items=ITEMS)], "run"))
    return chain[0].artifact


def again(folder: Path, items: list[dict[str, str]]) -> str:
    """Make the shard anew; the kind of error."""
    executor = ShardExecutor(make_chain(folder, "a"), 0, "again")
    return executor(Task(0, "000000", items=items, replace=True)).error_kind


def test_a_dropped_shard_is_gone_and_its_videos_count(tmp_path: Path) -> None:
    artifact = committed(tmp_path)
    before = Ledger.load(artifact).totals()
    assert drop(artifact, "000000") and drop(artifact, "000000"), "twice does no harm"
    assert not artifact.shard("000000").exists() and artifact.dropped() == {"000000"}
    after = Ledger.load(artifact).totals()
    assert (before.done, before.dropped) == (after.done, 0) == (2, 0)
    assert (after.bytes, after.shards, after.dropped) == (0, 1, 1) and before.bytes > 0


def test_killed_after_the_mark_a_second_call_removes_the_shard(tmp_path: Path) -> None:
    artifact = committed(tmp_path)
    artifact.dropped_mark("000000").parent.mkdir()
    artifact.dropped_mark("000000").touch()
    assert drop(artifact, "000000", wanted=lambda: True), "the mark was there already: nobody relies on it"
    assert not artifact.shard("000000").exists()


def test_made_anew_it_is_what_it_was_and_has_no_mark(tmp_path: Path) -> None:
    artifact = committed(tmp_path)
    shard, manifest = artifact.shard("000000").read_bytes(), artifact.manifest("000000").read_bytes()
    drop(artifact, "000000")
    assert again(tmp_path, ITEMS) == ""
    assert artifact.dropped() == set()
    assert artifact.shard("000000").read_bytes() == shard
    assert artifact.manifest("000000").read_bytes() == manifest


@pytest.mark.parametrize(("dropped", "error"), [(False, "repair"), (True, "")])
def test_only_what_is_there_can_be_lost(tmp_path: Path, dropped: bool, error: str) -> None:
    """A repair refuses to lose a video; of a dropped shard everything is lost already."""
    artifact = committed(tmp_path)
    if dropped:
        drop(artifact, "000000")
    assert again(tmp_path, [{"uri": "a"}, {"uri": "bad"}]) == error


def test_taking_back_a_mark_that_is_not_there(tmp_path: Path) -> None:
    keep(committed(tmp_path), "000000")


def test_tasks_travel_with_what_waits_for_them() -> None:
    task = Task(1, "000000-00", replace=True, then=[Task(2, "000000-00-00", then=[Task(3, "x")])])
    assert Task.load(task.dump()) == task
    assert json.loads(task.dump())["then"][0]["then"][0]["shard"] == "x"
