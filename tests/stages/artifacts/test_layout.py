from __future__ import annotations

import json

import pytest

from stages.artifacts.attempts import FileAttempts
from stages.artifacts.layout import Artifact, FormatError, ShardLayout, start
from stages.artifacts.whole import current, input_state, produce


def test_the_first_description_stays(artifact):
    before = artifact.stage_json.read_bytes()
    start(artifact, {"kind": "toy", "name": "other", "identity": {}}, ShardLayout(99, 99))
    assert artifact.stage_json.read_bytes() == before
    assert Artifact.at(artifact.root).layout == ShardLayout(videos=2, bytes=1000)


def test_another_format_version_is_refused_with_a_way_out(artifact):
    spec = json.loads(artifact.stage_json.read_text())
    artifact.stage_json.write_text(json.dumps({**spec, "format_version": 99}))
    with pytest.raises(FormatError, match="format version 99.*move the folder away"):
        Artifact.at(artifact.root)


def test_a_folder_without_description_is_no_artifact(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no stage.json"):
        Artifact.at(tmp_path)


def test_attempts_survive_a_restart(tmp_path):
    path = tmp_path / "attempts" / "x.json"
    assert FileAttempts(path).record("a") == 1
    assert FileAttempts(path).record("a") == 2
    again = FileAttempts(path)
    assert (again.count("a"), again.count("b")) == (2, 0)
    again.forget()
    assert FileAttempts(path).count("a") == 0


def test_whole_results_are_switched_at_once(tmp_path, artifact):
    folder = tmp_path / "summary"
    assert current(folder) is None
    first = produce(folder, {"kind": "s"}, "a" * 64, lambda f: (f / "x").write_text("1"))
    assert current(folder) == (first, "a" * 64)

    def fail(private):
        (private / "x").write_text("2")
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError):
        produce(folder, {"kind": "s"}, "b" * 64, fail)
    assert current(folder) == (first, "a" * 64)
    assert (first / "x").read_text() == "1"
    second = produce(folder, {"kind": "s"}, "b" * 64, lambda f: (f / "x").write_text("3"))
    assert (second / "x").read_text() == "3"
    assert not first.exists()
    assert [p.name for p in folder.iterdir() if p.name.startswith(".")] == []


def test_the_input_state_follows_commits(artifact, written):
    from stages.artifacts.commit import commit

    before = input_state([artifact])
    commit(artifact, "000000", written(), [])
    assert input_state([artifact]) != before
