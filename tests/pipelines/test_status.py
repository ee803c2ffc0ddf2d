"""``--status``, asked from another process while a real run lives, and after it was killed."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from configs.compose import compose
from pipelines import runs
from pipelines.events import read_events
from pipelines.output import Output
from pipelines.runs import STALE_S, RunRecord, all_runs
from pipelines.status import describe, lines, show_status
from stages.errors import SettingsError
from tests import cli
from tests.faults.decoders import GATED
from tests.faults.gates import shut
from tests.faults.processes import started, wait_until
from tests.faults.stores import manifests
from tests.media import make_corpus

VIDEOS = 16


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = make_corpus(tmp_path_factory.mktemp("status") / "videos", VIDEOS - 1, frames=4)
    (root / "a_text.mp4").write_text("no video")
    return root


def test_a_living_run_tells_how_far_it_is_and_a_killed_one_what_it_did(corpus: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    command = cli.features(
        corpus, store, "--set", "layout.shard_videos=2", "--runner", "local", "--set", GATED
    )

    def told() -> bool:
        return describe(all_runs(store)[-1])["stages"]["features"]["finished"] == 6

    with shut(corpus / "clip_06.mp4") as gate, started(*command) as run:  # the second one of the fourth shard
        run.until(lambda: gate.reached, "fourth shard of features")
        run.until(told, "receipts of three shards")
        living = cli.run_json(*command, "--status")
        run.kill_tree()
    assert len(manifests(store, "features")) == 3
    features = living["stages"]["features"]
    assert living["state"] == "running" and living["age"] < STALE_S
    assert features["finished"] == 6
    assert features["rate"]["frames"] > 0 and features["left"] > 0
    (worker,) = living["workers"]
    assert worker["pid"] == living["pid"], "the local runner's one worker is the run itself"
    assert [r["video"] for r in living["rejects"]] == ["a_text@mp4"]
    text = "\n".join(lines(living))
    assert "frames/s" in text and "left" in text and "a_text@mp4" in text

    killed = cli.run_json(*command, "--status", living["run"])
    assert killed["state"] == "killed", "at once: its process was on this machine"
    assert killed["stages"]["features"]["finished"] == 6
    events = read_events(store / "runs" / killed["run"])
    assert [e["seq"] for e in events] == list(range(1, len(events) + 1))
    made = {e["shard"] for e in events if e["event"] == "shard_committed" and e["stage"] == "features"}
    assert len(made) == 3, "no event was lost with the driver"

    cli.run(*command, "--max-failed", 1)
    again = describe(all_runs(store)[-1])
    assert (again["state"], again["exit_code"]) == ("finished", 0)
    assert again["run"] != killed["run"]
    done = {e["shard"] for e in read_events(store / "runs" / again["run"]) if e["event"] == "shard_committed"}
    assert not made & done, "the second run made only what was left"
    with pytest.raises(SettingsError, match=f"no run nothing on .*; the latest is {again['run']}"):
        show_status(store, "nothing", Output(as_json=False))


@pytest.fixture
def record(tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "BEAT_S", 0.05)
    made = RunRecord(tmp_path, compose("features", assignments=["data.root=/videos"]))
    yield made
    if not made._ended.is_set():
        made.close("finished", 0)


def test_nodes_that_come_and_go_are_noted(record):
    here = {"aa": {"host": "a"}, "bb": {"host": "b"}}
    record.watch_nodes(lambda: here)
    wait_until(lambda: len(_of(record, "node_joined")) == 2, "nodes")
    here = {"bb": {"host": "b"}}
    wait_until(lambda: _of(record, "node_lost"), "lost node")
    assert [e["host"] for e in _of(record, "node_lost")] == ["a"]


def test_a_training_is_told_with_its_checkpoints_and_steps(record, tmp_path):
    from cluster.watching import TrainingWatch

    checkpoints = tmp_path / "checkpoints"
    with record.training("model", "solv", checkpoints):
        TrainingWatch(record.folder, "model")({"step": 20, "steps": 50, "loss": 0.5, "steps per second": 2.0})
        (checkpoints / "fit" / "step-00000020").mkdir(parents=True)
        wait_until(lambda: _of(record, "checkpoint"), "checkpoint")
        wait_until(lambda: list(record.folder.glob("workers/*.json")), "worker")
        wait_until(lambda: all_runs(tmp_path)[0].status.get("waits_for"), "status")
        told = describe(all_runs(tmp_path)[0])
        assert any("trains model, step 20/50, loss 0.5" in line for line in lines(told))
        assert told["waits_for"] == "the training of solv"
    assert [e["event"] for e in read_events(record.folder)][-4:] == [
        "training_started", "waiting", "checkpoint", "training_finished",
    ]  # fmt: skip
    assert describe(all_runs(tmp_path)[0])["workers"] == []


def test_what_ended_a_run_is_told(record, tmp_path):
    record.close("failed", 1, "StoreError: the disk is full")
    (run,) = all_runs(tmp_path)
    assert "  StoreError: the disk is full" in lines(describe(run))
    assert read_events(record.folder)[-1]["error"] == "StoreError: the disk is full"


def test_a_record_of_another_machine_counts_as_alive_until_it_is_stale(record, tmp_path):
    record._ended.set()
    record._thread.join()
    path = record.folder / "status.json"
    status = json.loads(path.read_text())
    for changes, state in (
        ({"pid": 2**22 + 1}, "killed"),
        ({"pid": 2**22 + 1, "machine": "another"}, "running"),
        ({"machine": "another", "heartbeat": time.time() - 601}, "killed"),
    ):
        path.write_text(json.dumps({**status, **changes}))
        assert all_runs(tmp_path)[0].state == state


def _of(record, event):
    return [e for e in read_events(record.folder) if e["event"] == event]
