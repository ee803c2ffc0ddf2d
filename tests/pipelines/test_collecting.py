"""What ``--gc`` takes and what it leaves, on real small artifacts; see also ``tests/faults/test_gc.py``."""

from __future__ import annotations

import json
import os
import time
import uuid
from pathlib import Path
from typing import Any

import pytest

from configs.compose import compose
from configs.schema import Config
from pipelines import collecting
from pipelines.collecting import collect, disk_use
from pipelines.output import Output
from pipelines.runs import RunRecord
from stages.artifacts import leases
from stages.artifacts.layout import Artifact, ShardLayout, start
from stages.artifacts.place import place

HOUR = 3600.0


@pytest.fixture
def config() -> Config:
    return compose("features", assignments=["data.root=/videos", "decode.fps=2"])


@pytest.fixture
def artifact(tmp_path: Path) -> Artifact:
    made = Artifact(tmp_path / "toy" / "toy-0123abcd", "toy", ".bin")
    start(made, {"kind": "toy", "name": "toy", "identity": {}}, ShardLayout(videos=2))
    return made


def put(path: Path, age: float = HOUR) -> Path:
    """A small file that was written ``age`` seconds ago."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    os.utime(path, (time.time() - age,) * 2)
    return path


@pytest.fixture
def gc(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    def run(remove: bool = True) -> dict[str, Any]:
        capsys.readouterr()
        assert collect(tmp_path, remove, Output(as_json=True)) == 0
        return dict(json.loads(capsys.readouterr().out))

    return run


def paths(entries: list[dict[str, Any]]) -> set[Path]:
    return {Path(entry["path"]) for entry in entries}


def taken(path: Path, run: str, **fields: Any) -> Path:
    """A lease, with other ``fields``."""
    leases.take(path, run)
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))
    return path


def test_all_kinds_of_left_overs_go(tmp_path: Path, artifact: Artifact, gc) -> None:
    put(artifact.manifest("000001"))
    kept = {put(artifact.shard("000001")), put(artifact.attempts("000002")), artifact.manifest("000001")}
    kept.add(taken(artifact.lease("000007"), "alive"))
    left = {
        put(artifact.shard("000000")), put(artifact.rejects("000000")),
        put(artifact.attempts("000001")), put(artifact.attempts("000000").with_suffix(".20260101-killed")),
        put(artifact.shard("000000").with_name(".x.tmp")), put(tmp_path / "text" / ".y.tmp"),
        put(tmp_path / "runs" / "gone" / ".status.json.0.tmp"), put(artifact.lease("000003")),
        taken(artifact.lease("000004"), "killed", expires=time.time() - 1),
        taken(tmp_path / "model" / "model-00000000" / ".lease.json", "", born=1.0),
    }  # fmt: skip
    assert paths(gc(remove=False)["files"]) == left
    assert all(path.exists() for path in left)
    assert paths(gc()["files"]) == left
    assert not any(path.exists() for path in left) and all(path.exists() for path in kept)
    assert gc()["files"] == []


def test_a_living_run_keeps_what_it_may_need(tmp_path: Path, artifact: Artifact, config: Config, gc) -> None:
    other = Artifact(tmp_path / "toy" / "other-0123abcd", "toy", ".bin")
    start(other, {"kind": "toy", "name": "other", "identity": {}}, ShardLayout(videos=2))
    record = RunRecord(tmp_path, config, [artifact.root.name])
    old = put(artifact.shard("000000").with_name(".old.tmp"))
    needed = {
        put(artifact.shard("000000")), put(artifact.shard("000000").with_name(".new.tmp"), age=0),
        put(record.folder / ".status.json.0.tmp", age=0), put(tmp_path / "text" / ".new.tmp", age=0),
    }  # fmt: skip
    foreign, young = put(other.shard("000000")), put(other.shard("000001").with_name(".z.tmp"), age=5)
    done = gc()
    assert paths(done["files"]) == {old, foreign}
    assert paths(done["left"]) == {*needed, young}
    assert all(record.id in entry["why"] for entry in done["left"] if Path(entry["path"]) in needed)
    record.close("finished", 0)
    for path in (*needed, young):
        os.utime(path, (time.time() - HOUR,) * 2)
    assert paths(gc()["files"]) == {*needed, young}


def test_a_shard_that_somebody_is_at_is_left(artifact: Artifact, gc) -> None:
    orphan = put(artifact.shard("000000"))
    with leases.take(artifact.lease("000000"), "without a record"):  # type: ignore[union-attr]
        (left,) = gc()["left"]
        assert "run without a record on" in left["why"] and orphan.exists()
    assert paths(gc()["files"]) == {orphan}


def test_a_run_that_begins_in_the_middle_is_seen(
    tmp_path: Path, artifact: Artifact, config: Config, gc, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its record is written after the runs were read, and before the shard is removed."""
    orphan, records = put(artifact.shard("000000")), []
    take = leases.take

    def begin(*args: Any) -> Any:
        records.append(RunRecord(tmp_path, config, [artifact.root.name]))
        return take(*args)

    monkeypatch.setattr(leases, "take", begin)
    done = gc()
    records[0].close("finished", 0)
    assert done["files"] == [] and records[0].id in done["left"][0]["why"] and orphan.exists()
    assert not list(artifact.lease("000000").parent.iterdir())


def test_leases_of_runs_that_said_goodbye_go(tmp_path: Path, artifact: Artifact, config: Config, gc) -> None:
    record = RunRecord(tmp_path, config, [artifact.root.name])
    lease = taken(artifact.lease("000000"), record.id, place="another machine")
    assert gc()["files"] == []
    record.close("interrupted", 130)
    assert paths(gc()["files"]) == {lease}


def test_disk_use_counts_the_features_of_vocabularies(
    tmp_path: Path, artifact: Artifact, capsys: pytest.CaptureFixture[str]
) -> None:
    put(tmp_path / "text" / "a.safetensors")
    disk_use(tmp_path, Output(as_json=True))
    found = {entry["artifact"]: entry["bytes"] for entry in json.loads(capsys.readouterr().out)["artifacts"]}
    assert set(found) == {"toy/toy-0123abcd", "text"} and found["text"] == 1


def test_files_that_get_their_name_while_everything_is_listed_stay(
    config: Config, gc: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """At a URL a model is named last; listing a large store takes minutes, and its run may end meanwhile."""
    monkeypatch.setattr(collecting, "YOUNG_S", 0.0)
    store = place(f"memory://{uuid.uuid4().hex}/store")
    root = store / "model" / "model-01234567"
    (root / "stage.json").put(b"{}")
    model, other = (root / name / "m.txt" for name in ("01234567-01234567", "01234567-89abcdef"))
    model.put(b"x"), other.put(b"x")
    living = collecting.living_runs

    def end(*args: Any) -> Any:
        (root / "_SUCCESS.json").put(b'{"files": "01234567-01234567", "inputs": ""}')
        return living(*args)

    monkeypatch.setattr(collecting, "living_runs", end)
    collect(store, True, Output(as_json=True))
    assert model.exists() and not other.exists()
    assert json.loads(capsys.readouterr().out)["left"][0]["path"] == str(model.parent)
