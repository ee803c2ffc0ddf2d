"""Checkpoints: nothing pickled, whole or not there, exact, and refused where they don't belong."""

from __future__ import annotations

import json

import pytest
import torch

from stages.artifacts.atomic import StoreError
from stages.errors import SettingsError
from stages.learning import checkpoint
from stages.learning.checkpoint import State

OPTIMISERS = {
    "adam": lambda p: torch.optim.Adam(p, lr=0.1, betas=(0.8, 0.95)),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.1, weight_decay=0.2, amsgrad=True),
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True),
}


def pair(optimiser="adam", seed=0):
    torch.manual_seed(seed)
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 1))
    return model, OPTIMISERS[optimiser](model.parameters())


def steps(model, optimiser, first, count):
    for step in range(first, first + count):
        batch = torch.randn(5, 3, generator=torch.Generator().manual_seed(step))
        optimiser.zero_grad()
        model(batch).square().mean().backward()
        optimiser.step()


@pytest.mark.parametrize("kind", OPTIMISERS)
def test_steps_after_a_resume_are_those_of_an_undisturbed_training(tmp_path, kind):
    model, optimiser = pair(kind)
    steps(model, optimiser, 0, 3)
    state = State("{}", 3, 15, 1.25, 0.5, [(1, "loss", 0.1)])
    checkpoint.save(tmp_path, model, optimiser, state)
    steps(model, optimiser, 3, 4)
    other, its_optimiser = pair(kind, seed=7)
    assert checkpoint.resume(tmp_path, other, its_optimiser, "{}") == state
    steps(other, its_optimiser, 3, 4)
    for name, value in model.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name


def test_files_are_safetensors_and_json(tmp_path):
    path = checkpoint.save(tmp_path, *pair(), State("{}", 1))
    assert {p.name for p in path.iterdir()} == {"model.safetensors", "optimiser.safetensors", "state.json"}
    assert json.loads((path / "state.json").read_text())["step"] == 1


def test_the_last_two_are_kept_and_what_a_killed_run_left_goes(tmp_path):
    (tmp_path / ".half.tmp").mkdir()
    for step in (1, 20, 300):
        checkpoint.save(tmp_path, *pair(), State("{}", step))
    assert [p.name for p in checkpoint.checkpoints(tmp_path)] == ["step-00000020", "step-00000300"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-00000020", "step-00000300"]


def test_without_one_a_training_starts_afresh(tmp_path):
    model, optimiser = pair()
    assert checkpoint.resume(tmp_path / "none", model, optimiser, "{}") == State("{}")


def test_another_configuration_is_refused_with_what_differs(tmp_path):
    before = json.dumps({"fields": {"train": {"rate": 1, "seed": 0}}, "shape": {"rows": 2}})
    now = json.dumps({"fields": {"train": {"rate": 2, "seed": 0}}, "shape": {"rows": 3}})
    checkpoint.save(tmp_path, *pair(), State(before, 4))
    wanted = r"step-00000004 .*fields.train.rate 1 instead of 2, shape.rows 2 instead of 3\): remove "
    with pytest.raises(SettingsError, match=wanted):
        checkpoint.resume(tmp_path, *pair(), now)


@pytest.mark.parametrize("name", ["model.safetensors", "optimiser.safetensors", "state.json"])
@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_a_damaged_one_is_named(tmp_path, name, damage):
    trained = pair()
    steps(*trained, 0, 1)
    path = checkpoint.save(tmp_path, *trained, State("{}", 4)) / name
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:20])
    else:
        path.unlink()
    with pytest.raises(
        SettingsError, match="step-00000004 can't be read .*: remove it to go on from the one"
    ):
        checkpoint.resume(tmp_path, *pair(), "{}")


def test_a_folder_that_can_not_be_written_is_a_sentence(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("stages.learning.checkpoint.save_file", full)
    with pytest.raises(StoreError, match="can't write .*free some space"):
        checkpoint.save(tmp_path / "c", *pair(), State("{}", 1))
    assert checkpoint.checkpoints(tmp_path / "c") == []
