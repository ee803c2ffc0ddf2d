"""Waiting for what other runs make; runs that share a store are in ``tests/faults/test_sharing.py``."""

from __future__ import annotations

import json
import os
import re
import threading
import time
from pathlib import Path

import pytest

from cluster.chain import Chain, Receipt, Task
from configs.compose import compose
from pipelines import sharing
from pipelines.graph import Graph
from pipelines.runs import RunRecord
from pipelines.sharing import Held, all_held, living_runs, of_artifact, release_ended, wait_for_any
from stages.artifacts import leases
from tests.cluster.toy import make_chain
from tests.faults.processes import PATIENCE_S, wait_until


@pytest.fixture
def chain(tmp_path: Path) -> Chain:
    return make_chain(tmp_path)


def held(shard: str, replace: bool = False) -> Held:
    task = Task(0, shard, replace=replace)
    return Held.of(Receipt(0, shard, again=replace, held="run other on host", task=task.dump()))


def wait(chain: Chain, *shards: Held) -> tuple[threading.Thread, list[str]]:
    said: list[str] = []
    thread = threading.Thread(target=wait_for_any, args=(chain, shards, "me", said.append), daemon=True)
    thread.start()
    return thread, said


def test_a_wait_ends_with_a_commit_or_with_the_lease(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharing, "TELL_AFTER_S", 0.0)
    artifact = chain[0].artifact
    leases.take(artifact.lease("000000"), "other"), leases.take(artifact.lease("000001"), "other")
    thread, said = wait(chain, held("000000"), held("000001"))
    wait_until(lambda: said, "a line")
    assert re.fullmatch(r"waiting for 2 shards that run other on host is making \(\d+ s so far\)", said[0])
    thread.join(0.3)
    assert thread.is_alive() and len(said) == 1
    artifact.manifest("000001").write_bytes(b"")
    thread.join(PATIENCE_S)
    assert not thread.is_alive()
    again, _ = wait(chain, held("000001", replace=True))
    again.join(0.3)
    assert again.is_alive(), "a committed shard that is made anew is waited for until its lease is gone"
    artifact.lease("000001").unlink()
    again.join(PATIENCE_S)
    assert not again.is_alive()


def test_a_runner_is_not_started_for_what_others_make(chain: Chain) -> None:
    leases.take(chain[0].artifact.lease("000000"), "other")
    leases.take(chain[0].artifact.lease("000001"), "me")
    (found,) = all_held(chain, [Task(0, "000000")], "me")
    assert found.task.shard == "000000" and "run other" in found.holder
    assert all_held(chain, [Task(0, "000000"), Task(0, "000001")], "me") == []
    assert all_held(chain, [], "me") == []


def test_leases_of_ended_runs_are_taken_away(chain: Chain, tmp_path: Path) -> None:
    config = compose("features", assignments=["data.root=/videos", "decode.fps=2"])
    graph = Graph(config, tmp_path, chain, ("0", "1"), ())
    record = RunRecord(tmp_path, config)
    lease = chain[0].artifact.lease("000000")
    leases.take(lease, record.id)
    lease.write_text(json.dumps(json.loads(lease.read_text()) | {"place": "another machine"}))
    assert [run.status["run"] for run in living_runs(tmp_path)] == [record.id]
    release_ended(graph)
    assert lease.exists()
    record.close("interrupted", 130)
    release_ended(graph)
    assert not lease.exists() and living_runs(tmp_path) == []


def test_a_run_whose_process_is_gone_from_this_machine_is_dead(tmp_path: Path) -> None:
    record = RunRecord(tmp_path, compose("features", assignments=["data.root=/videos"]))
    record._ended.set()  # as after SIGKILL
    record._thread.join()
    path = record.folder / "status.json"
    status = json.loads(path.read_text())
    path.write_text(json.dumps(status | {"pid": 2**22 + 1}))
    assert living_runs(tmp_path) == []
    path.write_text(json.dumps(status | {"pid": 2**22 + 1, "machine": "another"}))
    assert len(living_runs(tmp_path)) == 1
    assert living_runs(tmp_path, besides=record.id) == []


def test_a_record_that_can_not_be_read_is_of_a_run_that_may_live(tmp_path: Path) -> None:
    """A file that is replaced on a network file system, one of another user, a store that answers badly."""
    path = tmp_path / "runs" / "other" / "status.json"
    path.parent.mkdir(parents=True)
    path.write_text("{")
    (found,) = living_runs(tmp_path)
    assert found.status["run"] == "other" and of_artifact([found], "any") == [found]
    os.utime(path, (time.time() - 601,) * 2)
    assert living_runs(tmp_path) == []
