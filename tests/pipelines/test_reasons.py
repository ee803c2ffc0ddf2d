from __future__ import annotations

import json
from pathlib import Path

from pipelines.reasons import differences, flatten, new_artifact_reason
from stages.artifacts.layout import Artifact
from stages.decode.spec import DecodeSpec
from stages.features.stage import FeaturesStage


def stored(store: Path, name: str, stage: FeaturesStage) -> None:
    folder = store / "features" / name
    folder.mkdir(parents=True)
    (folder / "stage.json").write_text(json.dumps({"identity": stage.identity()}))


def reason(store: Path, stage: FeaturesStage) -> str:
    return new_artifact_reason(Artifact(store / "features" / "new", "features", ".tar"), stage)


def test_the_first_artifact_has_no_neighbour(tmp_path):
    assert reason(tmp_path, FeaturesStage()) == "first time"


def test_the_nearest_neighbour_and_what_differs(tmp_path):
    stored(tmp_path, "far", FeaturesStage(decode=DecodeSpec(fps=1, crop="borders"), encoding="int8"))
    stored(tmp_path, "near", FeaturesStage(decode=DecodeSpec(fps=5)))
    text = reason(tmp_path, FeaturesStage(decode=DecodeSpec(fps=2)))
    assert text == "new settings: decode.fps 5 -> 2 (beside near)"


def test_equal_settings_on_another_input(tmp_path):
    stored(tmp_path, "same", FeaturesStage())
    assert reason(tmp_path, FeaturesStage()) == "its input is new (beside same)"


def test_damaged_neighbours_are_passed_over(tmp_path):
    stored(tmp_path, "bad", FeaturesStage())
    (tmp_path / "features" / "bad" / "stage.json").write_text("{")
    assert reason(tmp_path, FeaturesStage()) == "first time"


def test_flat_keys():
    assert flatten({"fields": {"a": {"b": 1}}, "kind": "x"}) == {"a.b": 1, "kind": "x"}
    assert differences({"a": 1, "b": 2}, {"a": 1, "c": 3}) == ["b 2 -> None", "c None -> 3"]
