"""The training loop: it learns, it resumes exactly, it stops with a sentence."""

import json
import os
import subprocess
import sys

import pytest
import torch

from stages.errors import SettingsError
from stages.learning import checkpoint, loop
from stages.learning.spec import TrainSpec
from tests.faults.gates import held_before
from tests.faults.processes import wait_until
from tests.outside import PROJECT
from tests.stages.learning.making import store_in, task, weights


def run(store, spec, folder, identity="{}", **place):
    work = task(store, spec, identity=identity)
    state = loop.train(work, spec, loop.Place(folder, **place))
    return weights(work.model), state


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def test_the_loss_falls(tmp_path):
    spec = TrainSpec(steps=60, batch=8, rate=1e-2)
    _, state = run(store_in(tmp_path), spec, tmp_path / "c")
    losses = [value for _, name, value in state.history if name == "loss"]
    assert len(losses) == 60
    assert sum(losses[-10:]) < 0.97 * sum(losses[:10])
    names = {name for _, name, _ in state.history}
    assert {"rate", "gradient", "steps per second", "waiting for data"} <= names


def test_equal_seeds_give_equal_weights_and_others_do_not(tmp_path):
    store, spec = store_in(tmp_path), TrainSpec(steps=5, batch=4)
    first, _ = run(store, spec, tmp_path / "a")
    second, _ = run(store, spec, tmp_path / "b")
    other, _ = run(store, TrainSpec(steps=5, batch=4, seed=1), tmp_path / "d")
    assert same(first, second)
    assert not same(first, other)


@pytest.mark.parametrize("stopped", [1, 7])
def test_a_training_that_was_cut_short_goes_on_exactly(tmp_path, stopped):
    """The checkpoint of step ``stopped`` is all the second sitting has; 7 lies beyond the first epoch."""
    store, spec = store_in(tmp_path, videos=2), TrainSpec(steps=12, batch=4)
    whole, _ = run(store, spec, tmp_path / "whole")

    class Cut(Exception):
        pass

    def report(figures):
        if figures.get("step") == stopped + 1:
            raise Cut

    with pytest.raises(Cut):
        run(store, spec, tmp_path / "cut", every_s=0.0, report=report)
    assert [p.name for p in checkpoint.checkpoints(tmp_path / "cut")][-1] == f"step-{stopped:08d}"
    resumed, state = run(store, spec, tmp_path / "cut")
    assert state.step == 12
    assert same(whole, resumed)


def test_a_killed_training_goes_on_exactly(tmp_path):
    store = store_in(tmp_path, videos=2)
    spec = TrainSpec(steps=30, batch=4)
    arguments = json.dumps([store.path, str(tmp_path / "killed"), 30])
    command = [sys.executable, "-m", "tests.stages.learning.making", arguments]
    with held_before(3, tmp_path) as (gate, env):
        environment = {**os.environ, "OMP_NUM_THREADS": "1", **env}
        child = subprocess.Popen(command, cwd=PROJECT, env=environment)
        try:
            wait_until(lambda: gate.reached or child.poll() is not None, "step 2")
        finally:
            child.kill()
            child.wait()
    assert [path.name for path in checkpoint.checkpoints(tmp_path / "killed")] == [
        "step-00000001",
        "step-00000002",
    ]
    torch.set_num_threads(1)
    resumed, _ = run(store, spec, tmp_path / "killed")
    whole, _ = run(store, spec, tmp_path / "whole")
    assert same(whole, resumed)


def test_a_checkpoint_of_another_configuration_is_refused(tmp_path):
    store, spec = store_in(tmp_path), TrainSpec(steps=2, batch=4)
    run(store, spec, tmp_path / "c", identity='{"train": {"rate": 1}}')
    with pytest.raises(SettingsError, match=r"step-00000002.*train.rate 1 instead of 2"):
        run(store, spec, tmp_path / "c", identity='{"train": {"rate": 2}}')


def test_a_damaged_checkpoint_is_named(tmp_path):
    store, spec = store_in(tmp_path), TrainSpec(steps=2, batch=4)
    run(store, spec, tmp_path / "c")
    (tmp_path / "c" / "step-00000002" / "model.safetensors").write_bytes(b"no")
    with pytest.raises(SettingsError, match="step-00000002 can't be read"):
        run(store, spec, tmp_path / "c")


def test_a_loss_that_is_no_number_stops_with_step_and_videos(tmp_path):
    store, spec = store_in(tmp_path, videos=1), TrainSpec(steps=5, batch=2)
    work = task(store, spec)
    with torch.no_grad():
        work.model.decoder.position_embedding.fill_(float("nan"))
    with pytest.raises(loop.DivergedError, match="step 0 of 5, on videos v0: lower train.rate"):
        loop.train(work, spec, loop.Place(tmp_path / "c"))


def test_only_two_checkpoints_are_kept(tmp_path):
    run(store_in(tmp_path), TrainSpec(steps=5, batch=4), tmp_path / "c", every_s=0.0)
    names = [p.name for p in checkpoint.checkpoints(tmp_path / "c")]
    assert names == ["step-00000004", "step-00000005"]
    assert not list((tmp_path / "c").rglob("*.pkl")) + list((tmp_path / "c").rglob("*.pt"))


def test_steps_and_epochs(tmp_path):
    assert loop.length(TrainSpec(epochs=3, batch=8), 100) == (37, 3)
    assert loop.length(TrainSpec(steps=50, batch=8), 100) == (50, 4)
    assert loop.length(TrainSpec(epochs=1, batch=48), 5) == (1, 1)
