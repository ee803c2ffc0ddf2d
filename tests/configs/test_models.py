"""Trained models that a recipe is given: one real one, and whatever else may be named in its place."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from configs.compose import compose
from configs.models import SECTIONS, read_model
from stages.artifacts.layout import FormatError
from stages.errors import SettingsError
from tests.measured import Measured


@pytest.fixture
def model(measured: Measured, tmp_path: Path) -> Path:
    """A copy of the model's artifact, for damaging."""
    return Path(shutil.copytree(measured.artifact("model"), tmp_path / measured.artifact("model").name))


def test_a_model_brings_its_settings_along(measured: Measured) -> None:
    given = read_model(str(measured.artifact("model")))
    assert given.folder == measured.artifact("model")
    assert given.folder.name == f"solv-{given.fingerprint[:8]}"
    assert set(given.settings) == {*SECTIONS, "solv"}
    assert given.settings["solv"]["slots"] == 4
    assert given.settings["decode"]["size"] == [32, 48]
    assert given.features["kind"] == "features"


def test_its_settings_hold_in_another_recipe_unless_asked_otherwise(measured: Measured) -> None:
    model = f"model={measured.artifact('model')}"
    config = compose("segment", assignments=["data.root=/videos", model])
    assert (config.method.name, config.solv.slots, config.solv.decoder) == ("solv", 4, (16,))
    assert (config.backbone.stride, config.decode.size, config.decode.fps) == (4, (32, 48), "all")
    assert config.train == compose("segment", assignments=["data.root=/videos"]).train
    asked = ["data.root=/videos", model, "solv.masks=attention", "decode.fps=2"]
    changed = compose("segment", assignments=asked)
    assert (changed.solv.masks, changed.solv.slots, changed.decode.fps) == ("attention", 4, 2.0)


def test_a_path_may_be_relative_or_at_home(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(model.parent)
    assert read_model(model.name).folder == model
    monkeypatch.setenv("HOME", str(model.parent))
    assert read_model(f"~/{model.name}").folder == model


@pytest.mark.parametrize("content", [None, "", "{", "[]", '"text"'])
def test_what_is_no_model_is_named(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "stage.json").write_text(content)
    with pytest.raises(SettingsError, match="no model there") as error:
        read_model(str(tmp_path))
    assert str(tmp_path) in str(error.value)


def test_another_kind_of_artifact_is_named(measured: Measured) -> None:
    with pytest.raises(SettingsError, match="is an artifact of kind features, not a model"):
        read_model(str(measured.artifact("features")))


def test_a_training_that_has_not_ended_is_no_model(model: Path) -> None:
    (model / "_SUCCESS.json").unlink()
    with pytest.raises(SettingsError, match="its training has not ended; run its recipe again"):
        read_model(str(model))


def test_another_format_is_told_from_damage(model: Path) -> None:
    spec = json.loads((model / "stage.json").read_text())
    (model / "stage.json").write_text(json.dumps({**spec, "format_version": 99}))
    with pytest.raises(FormatError, match="format version 99"):
        read_model(str(model))


@pytest.mark.parametrize("key", ["settings", "features", "fingerprint"])
def test_a_description_without_what_is_needed_is_no_model(model: Path, key: str) -> None:
    spec = json.loads((model / "stage.json").read_text())
    del spec[key]
    (model / "stage.json").write_text(json.dumps(spec))
    with pytest.raises(SettingsError, match=f"no {key} in"):
        read_model(str(model))
