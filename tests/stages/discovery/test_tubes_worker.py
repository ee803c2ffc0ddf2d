"""The tubes stage and its worker on the features and the model of a real small run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from stages.artifacts import manifest, whole
from stages.artifacts.layout import Artifact
from stages.discovery.registry import METHODS
from stages.discovery.solv import SolvMethod
from stages.discovery.tubes_stage import TubesStage
from stages.discovery.tubes_worker import NO_TRUTH
from stages.errors import SettingsError
from stages.outcome import Done, MediaError, Outcome, Rejected, Skipped
from stages.stage import UPSTREAM_SHARD, MemoryAttempts, WorkContext
from tests.measured import FRAMES, GOOD, SIZE, Measured


def items(measured: Measured) -> list[dict[str, Any]]:
    features = Artifact.at(measured.artifact("features"))
    shard = features.committed()[0]
    found = manifest.read_footer(features.manifest(shard)).outcomes
    return [{**o["info"], "video": o["video"], UPSTREAM_SHARD: shard} for o in found if o["status"] == "done"]


def context(measured: Measured, folder: Path, **inputs: str) -> WorkContext:
    made = {kind: str(measured.artifact(kind)) for kind in ("catalog", "features", "model")}
    return WorkContext(str(measured.data), folder, inputs={**made, **inputs})


def segmented(stage: TubesStage, measured: Measured, folder: Path) -> tuple[dict[str, Outcome], Any]:
    worker = stage.open(context(measured, folder))
    writer = stage.writer(folder / "shard", "000000-00")

    def outcomes() -> Iterator[tuple[str, Outcome]]:
        for outcome in worker.process(items(measured), writer, MemoryAttempts()):
            if isinstance(outcome, Done):
                writer.keep(outcome.video)
            yield unquote(outcome.video.removesuffix("@mp4").replace("=", "%")), outcome

    found = dict(outcomes())
    worker.close()
    return found, writer.finish().rows.to_pylist()


@pytest.fixture
def stage(measured: Measured) -> TubesStage:
    """With the options of the run's model."""
    folder = whole.current(measured.artifact("model"))
    assert folder is not None
    options = json.loads((folder[0] / "model.json").read_text())["method"]["options"]
    made = {name: tuple(value) if isinstance(value, list) else value for name, value in options.items()}
    return TubesStage(SolvMethod(**made))


def test_every_video_gets_its_tubes(measured: Measured, stage: TubesStage, tmp_path: Path) -> None:
    found, rows = segmented(stage, measured, tmp_path)
    assert {*GOOD, "bare", "nothing"} <= found.keys()
    assert len(rows) == len(found)
    for outcome in found.values():
        assert isinstance(outcome, Done)
        assert outcome.info["frames"] == FRAMES and tuple(outcome.info["native"]) == SIZE
        assert (tuple(outcome.info["size"]), outcome.info["clip"]) == (SIZE, 1)
        assert set(outcome.info["tubes"]) == {"decoder", "attention"}
        assert sum(outcome.info["tubes"].values()) > 0


def test_videos_without_truth_may_be_left_out(measured: Measured, stage: TubesStage, tmp_path: Path) -> None:
    found, rows = segmented(replace(stage, only_annotated=True), measured, tmp_path)
    assert found["bare"] == Skipped(found["bare"].video, NO_TRUTH)
    assert isinstance(found["plain"], Done)
    assert found["bare"].video not in [row["video"] for row in rows]


def test_a_method_without_training_needs_no_model(measured: Measured, tmp_path: Path) -> None:
    found, rows = segmented(TubesStage(METHODS["one"]()), measured, tmp_path)
    assert all(isinstance(o, Done) and list(o.info["tubes"].values()) == [1] for o in found.values())
    assert len(rows) == len(found)


def test_too_many_tubes_reject_one_video(
    measured: Measured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What can't be numbered is that video's fault: the others go on."""
    implementation = METHODS["one"]().implement()
    segment = implementation.segment

    def strict(models: Any, video: Any) -> Any:
        if video.video == "plain@mp4":
            raise MediaError("tubes", f"{video.video}: more than 5 tubes")
        return segment(models, video)

    monkeypatch.setattr(implementation, "segment", strict)
    monkeypatch.setattr(METHODS["one"], "implement", lambda self: implementation)
    found, rows = segmented(TubesStage(METHODS["one"]()), measured, tmp_path)
    assert found["plain"] == Rejected("plain@mp4", "tubes", "plain@mp4: more than 5 tubes")
    assert sum(isinstance(outcome, Done) for outcome in found.values()) == len(rows) == len(found) - 1


def test_a_model_that_is_not_there_is_named(measured: Measured, stage: TubesStage, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="nowhere is not there yet: train it first"):
        stage.open(context(measured, tmp_path, model=str(tmp_path / "nowhere")))


def test_a_model_of_other_options_is_refused(measured: Measured, stage: TubesStage, tmp_path: Path) -> None:
    other = TubesStage(replace(stage.method, slots=5))
    with pytest.raises(SettingsError, match="slots"):
        other.open(context(measured, tmp_path))


def test_what_a_plan_may_know(stage: TubesStage) -> None:
    frames, size = stage.estimate({"frames": 10})
    assert frames == 10 and size == 2 * stage.estimate({"frames": 5})[1] > 0
    assert not stage.size_known()
    assert stage.name == "solv"
    assert stage.identity()["fields"]["method"] == stage.method.identity()
    assert stage.identity() != replace(stage, only_annotated=True).identity()
