"""A run killed while it trains: the same command goes on from the last checkpoint, to the same model."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from tests import cli
from tests.faults.gates import held_before
from tests.faults.processes import started

STEPS = 40
SETTINGS = (
    "data.kind=sprites", "data.sprites.count=3", "data.sprites.frames=5", "data.sprites.size=[48,64]",
    "decode.size=[48,64]", "decode.crop=none", "backbone.name=patchstats",
    "solv.slots=3", "solv.slot_width=8", "solv.temporal_layers=1", "solv.temporal_heads=2", "solv.hidden=8",
    "solv.decoder=[8]",
    f"train.steps={STEPS}", "train.batch=4", "run.checkpoint_s=0",
)  # fmt: skip


def command(folder: Path, *more: str) -> list[object]:
    settings = (*SETTINGS, f"data.root={folder / 'videos'}", f"store={folder / 'store'}", *more)
    return ["solv_ytvis", "--runner", "local", *(part for s in settings for part in ("--set", s))]


def model(folder: Path) -> bytes:
    """The published weights."""
    (home,) = (folder / "store" / "model").iterdir()
    files = home / json.loads((home / "_SUCCESS.json").read_text())["files"]
    assert not (home / "checkpoints").exists(), "a published model needs none"
    return (files / "solv.safetensors").read_bytes()


def steps(folder: Path) -> int:
    """The step of the latest checkpoint."""
    found = (folder / "store" / "model").glob("*/checkpoints/solv/step-*")
    return max((int(path.name.removeprefix("step-")) for path in found), default=0)


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The model of one undisturbed run."""
    folder = tmp_path_factory.mktemp("undisturbed")
    cli.run(*command(folder))
    return model(folder)


def test_a_killed_training_ends_with_the_same_bytes(reference: bytes, tmp_path: Path) -> None:
    """Two kills at random steps, then one run to the end."""
    moments = random.Random(3)
    first = moments.randrange(2, STEPS // 3)
    for step in (first, first + moments.randrange(2, STEPS // 3)):
        with held_before(step + 1, tmp_path) as (gate, env), started(*command(tmp_path), **env) as run:
            run.until(lambda gate=gate: gate.reached, f"step {step}")
            run.kill_tree()
        assert steps(tmp_path) == step
    cli.run(*command(tmp_path))
    assert model(tmp_path) == reference


def test_processes_that_train_together_end_with_a_killed_driver(tmp_path: Path) -> None:
    both = command(tmp_path, "run.train_workers=2")
    with held_before(3, tmp_path) as (gate, env), started(*both, **env) as run:
        run.until(lambda: gate.reached, "step 2")
        assert len(run.children()) >= 2
        run.process.kill()
        run.process.wait()
        run.await_end()
    assert steps(tmp_path) == 2


@pytest.mark.long
def test_a_checkpoint_of_other_settings_is_never_met(reference: bytes, tmp_path: Path) -> None:
    """Another setting is another artifact: what a killed run has left does no harm."""
    with held_before(3, tmp_path) as (gate, env), started(*command(tmp_path), **env) as run:
        run.until(lambda: gate.reached, "step 2")
        run.kill_tree()
    assert steps(tmp_path) == 2
    cli.run(*command(tmp_path, "train.steps=3"))
    published = list((tmp_path / "store" / "model").glob("*/_SUCCESS.json"))
    assert len(published) == 1 and len(list((tmp_path / "store" / "model").iterdir())) == 2
