"""`clip_sprites`, a recipe without data: as a user runs it, and everything that looks at its store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stages.artifacts import whole
from stages.labeling.accuracy import read_accuracy
from stages.labeling.clip_model import load_clip
from stages.labeling.clip_spec import ClipSpec
from tests import cli

FEW = ("clip_sprites.clips=110", "clip_sprites.seed=1", "clip_sprites.steps=2")
KINDS = {"colour", "shape", "pair", "background"}


def command(store: Path, *flags: object) -> list[object]:
    sets = [part for setting in (f"store={store}", *FEW) for part in ("--set", setting)]
    return ["clip_sprites", "--runner", "local", *sets, *flags]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("clip_sprites") / "store"


@pytest.fixture(scope="module")
def first(store: Path) -> dict[str, Any]:
    return cli.run_json(*command(store))


def test_it_needs_no_data_and_leaves_a_model(first: dict[str, Any]) -> None:
    folder = Path(first["artifacts"]["clip"])
    assert set(first["accuracy"]) == KINDS and first["totals"] == {}
    assert {name: vars(found) for name, found in read_accuracy(folder).items()} == first["accuracy"]
    model = load_clip(ClipSpec(model=str(folder)))
    assert model.size == (32, 32) and model.text_features(["a red star"]).shape == (1, 64)


def test_a_second_run_does_nothing_and_prints_the_figures(first: dict[str, Any], store: Path) -> None:
    folder = Path(first["artifacts"]["clip"])
    before = whole.current(folder)
    done = cli.run(*command(store)).stdout
    assert "nothing to do: everything is cached" in done and whole.current(folder) == before
    (line,) = [line for line in done.splitlines() if line.startswith("colour")]
    colour = first["accuracy"]["colour"]
    assert line.split()[1:] == [f"{100 * colour[key]:.1f}" for key in ("right", "chance", "majority")]
    plan = cli.run_json(*command(store, "--plan"))
    assert not plan["pending"] and [stage["kind"] for stage in plan["stages"]] == ["clip"]
    assert not any("sampling" in note or "files listed" in note for note in plan["notes"])


def test_what_is_about_videos_says_that_there_are_none(first: dict[str, Any], store: Path) -> None:
    said = cli.run_json(*command(store, "--explain", "x"), code=2)
    assert "clip_sprites reads no videos" in said["error"]
    assert cli.run_json(*command(store, "--verify"))["checked"] == 0
