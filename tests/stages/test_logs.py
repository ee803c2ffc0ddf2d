from __future__ import annotations

import json
import logging

import pytest

from stages import logs
from stages.waiting import taken, waiting
from tests import cli
from tests.media import make_corpus


@pytest.fixture
def untouched():
    yield
    logs.about(run=None, shard=None)
    logs.set_up(as_json=False)


def test_a_line_has_ids_and_extras(untouched, capsys):
    logs.set_up(as_json=True)
    logs.about(run="r", shard="000001")
    logging.getLogger("stages.somewhere").warning("bad %s", "luck", extra={"video": "v@mp4"})
    logs.about(shard=None)
    logging.getLogger("cluster.somewhere").info("fine")
    first, second = map(json.loads, capsys.readouterr().err.splitlines())
    assert (first["message"], first["level"], first["logger"]) == ("bad luck", "warning", "stages.somewhere")
    assert (first["run"], first["shard"], first["video"]) == ("r", "000001", "v@mp4")
    assert first["time"].endswith("+00:00") and first["pid"] and first["host"]
    assert second["run"] == "r" and not {"shard", "video"} & set(second)


def test_people_get_no_log_lines(untouched, capsys):
    logs.set_up(as_json=False)
    logging.getLogger("stages.somewhere").error("x")
    assert capsys.readouterr().err == ""


def test_a_run_logs_json_and_nothing_else_on_standard_error(tmp_path):
    root = make_corpus(tmp_path / "videos", 2, frames=4)
    (root / "text.mp4").write_text("no video")
    command = cli.features(root, tmp_path / "store", "--set", "run.log=json", "--runner", "local")
    done = cli.run(*command, "--workers", 2, code=3)
    entries = [json.loads(line) for line in done.stderr.splitlines()]
    (reject,) = [e for e in entries if e.get("video") == "text@mp4"]
    assert (reject["stage"], reject["error_class"]) == ("catalog", "not_media")
    assert reject["run"] in done.stdout and reject["shard"] == "000000"
    assert sum(e.get("frames", 0) for e in entries if "is committed" in e["message"]) == 8
    assert "more than --max-failed" in entries[-1]["message"]


def test_waits_are_counted_once(monkeypatch):
    taken()
    now = iter([0.0, 2.0, 5.0, 6.0])
    monkeypatch.setattr("stages.waiting.time.perf_counter", lambda: next(now))
    with waiting("decoder"):
        pass
    with waiting("decoder"):
        pass
    assert taken() == {"decoder": 3.0}
    assert taken() == {}
