"""Trained models on disk: what is saved is what is loaded, and what doesn't fit is refused."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from stages.discovery.contract import FeatureShape
from stages.discovery.solv import SolvMethod
from stages.errors import SettingsError
from stages.learning.models import load_models, save_models
from tests.stages.discovery.making import ToyMethod

SHAPE = FeatureShape(2, 3, 8)
METHOD = ToyMethod(width=3)


@pytest.fixture
def saved(tmp_path):
    torch.manual_seed(5)
    models = {}
    for fit in METHOD.fits():
        models[fit] = METHOD.implement().model(fit, SHAPE, models)
    save_models(tmp_path, METHOD, SHAPE, models, {"videos": 7})
    return tmp_path, models


def test_all_fits_come_back_ready_to_use(saved):
    folder, models = saved
    found = load_models(folder, METHOD)
    assert list(found) == ["first", "second"]
    for fit, model in found.items():
        assert not model.training
        assert all(torch.equal(v, models[fit].state_dict()[k]) for k, v in model.state_dict().items())
    tokens = torch.randn(4, 6, 8)
    assert torch.equal(found["second"](tokens), models["second"](tokens))
    assert json.loads((folder / "model.json").read_text())["videos"] == 7


def test_options_that_matter_only_afterwards_may_change(saved):
    assert set(load_models(saved[0], replace(METHOD, threshold=0.9))) == {"first", "second"}


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (replace(METHOD, width=4), r"has other options of toy \(width 3 instead of 4\): train it anew"),
        (SolvMethod(), "is of method toy, not solv: train it anew"),
    ],
)
def test_another_method_is_refused(saved, method, message):
    with pytest.raises(SettingsError, match=f"the model in {saved[0]} {message}"):
        load_models(saved[0], method)


def test_an_older_version_of_the_method_is_refused(saved, monkeypatch):
    monkeypatch.setattr(ToyMethod, "version", 2)
    with pytest.raises(SettingsError, match="is of version 1 of toy, which is at 2 now"):
        load_models(saved[0], METHOD)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda folder: (folder / "second.safetensors").unlink(),
        lambda folder: (folder / "second.safetensors").write_bytes(b"0123456789"),
        lambda folder: (folder / "first.safetensors").write_bytes(
            (folder / "second.safetensors").read_bytes()
        ),
        lambda folder: (folder / "model.json").write_text("{"),
        lambda folder: (folder / "model.json").write_text("{}"),
        lambda folder: (folder / "model.json").unlink(),
    ],
    ids=["missing", "cut", "swapped", "no json", "empty json", "no description"],
)
def test_damage_is_a_sentence(saved, spoil):
    spoil(saved[0])
    with pytest.raises(SettingsError, match=f"the model in {saved[0]} can't be read .*: train it again"):
        load_models(saved[0], METHOD)
