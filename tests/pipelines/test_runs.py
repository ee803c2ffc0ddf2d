from __future__ import annotations

import json
import time

import pytest
import yaml

from configs.compose import compose
from pipelines import runs
from pipelines.runs import RunRecord, all_runs
from pipelines.sharing import living_runs
from tests.faults.processes import wait_until


@pytest.fixture
def config():
    return compose("features", assignments=["data.root=/videos", "decode.fps=2"])


def test_a_living_run_beats_and_an_ended_one_says_how(tmp_path, config, monkeypatch):
    monkeypatch.setattr(runs, "BEAT_S", 0.05)
    record = RunRecord(tmp_path, config)
    record.update({"features": {"done": 3}})
    first = all_runs(tmp_path)[0].status["heartbeat"]
    wait_until(lambda: all_runs(tmp_path)[0].status["heartbeat"] > first, "heartbeat")
    (seen,) = all_runs(tmp_path)
    assert (seen.alive, seen.state, seen.status["stages"]) == (True, "running", {"features": {"done": 3}})
    record.close("finished", 0)
    (seen,) = all_runs(tmp_path)
    assert (seen.alive, seen.state, seen.status["exit_code"]) == (False, "finished", 0)
    assert yaml.safe_load((seen.folder / "config.yaml").read_text())["decode"]["fps"] == 2.0


def test_a_silent_run_counts_as_killed_after_ten_minutes(tmp_path, config):
    record = RunRecord(tmp_path, config)
    record._ended.set()  # as after SIGKILL: nobody beats and nobody says goodbye
    record._thread.join()
    path = record.folder / "status.json"
    status = json.loads(path.read_text()) | {"machine": "another"}
    for age, alive in ((599, True), (601, False)):
        path.write_text(json.dumps({**status, "heartbeat": time.time() - age}))
        (seen,) = all_runs(tmp_path)
        assert (seen.alive, seen.state) == (alive, "running" if alive else "killed")
        assert [run.status["run"] for run in living_runs(tmp_path)] == [record.id] * alive


def test_unreadable_records_are_passed_over(tmp_path):
    (tmp_path / "runs" / "x").mkdir(parents=True)
    (tmp_path / "runs" / "x" / "status.json").write_text("{")
    assert all_runs(tmp_path) == []


def test_no_error_of_a_look_ends_the_heartbeat(tmp_path, config, monkeypatch):
    """Ray, for one, may be shut down in the middle of a question for its nodes."""
    monkeypatch.setattr(runs, "BEAT_S", 0.02)
    record, asked = RunRecord(tmp_path, config), []

    def nodes():
        asked.append(1)
        raise RuntimeError("Ray has not been started yet")

    record.watch_nodes(nodes)
    wait_until(lambda: len(asked) > 1, "second question", 5)
    record.update({"features": {"done": 3}})
    wait_until(lambda: all_runs(tmp_path)[0].status["stages"], "beat", 5)
    record.close("finished", 0)


def test_a_run_that_stands_still_on_this_machine_is_alive(tmp_path, config):
    record = RunRecord(tmp_path, config)
    record._ended.set()  # as in a process that was stopped for an hour
    record._thread.join()
    path = record.folder / "status.json"
    status = json.loads(path.read_text()) | {"heartbeat": time.time() - 3600}
    for change, state in (({}, "running"), ({"born": 1.0}, "killed"), ({"machine": "another"}, "killed")):
        path.write_text(json.dumps({**status, **change}))
        assert all_runs(tmp_path)[0].state == state
        assert len(living_runs(tmp_path)) == (state == "running")


def test_why_a_run_ended_is_not_hidden_by_a_record_that_can_not_be_written(tmp_path, config):
    record = RunRecord(tmp_path, config)
    (record.folder / "status.json").unlink()
    (record.folder / "status.json").mkdir()
    with pytest.raises(ZeroDivisionError):
        try:
            raise ZeroDivisionError
        finally:
            record.close("failed", 1)
