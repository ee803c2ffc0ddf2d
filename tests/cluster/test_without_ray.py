"""A Python without ray: the local runner does everything, the Ray runner says what is missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import cli
from tests.media import make_corpus


@pytest.fixture
def without_ray(tmp_path: Path) -> dict[str, str]:
    """An environment in which ``import ray`` fails as where it was never installed."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(
        "import sys\n"
        "class Absent:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] == 'ray':\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Absent())\n"
    )
    return {"PYTHONPATH": str(tmp_path / "site")}


@pytest.mark.parametrize("workers", [1, 2])
def test_a_whole_recipe_runs_without_ray(workers: int, tmp_path: Path, without_ray: dict[str, str]) -> None:
    root = make_corpus(tmp_path / "videos", 3, frames=3)
    command = cli.features(root, tmp_path / "store", "--runner", "local", "--workers", workers)
    assert "features: 3 done" in cli.run(*command, **without_ray).stdout
    assert "nothing to do" in cli.run(*command, **without_ray).stdout
    assert "0 damaged" in cli.run(*command, "--verify", **without_ray).stdout


def test_sprites_are_made_and_cached_without_ray(tmp_path: Path, without_ray: dict[str, str]) -> None:
    settings = (f"data.root={tmp_path / 'videos'}", f"store={tmp_path / 'store'}", "data.sprites.count=2")
    settings += ("train.steps=2", "clip_sprites={clips: 200, steps: 1}")
    options = [option for setting in settings for option in ("--set", setting)]
    assert "features: 2 done" in cli.run("quickstart", *options, "--runner", "local", **without_ray).stdout


def test_the_ray_runner_says_where_ray_is(tmp_path: Path, without_ray: dict[str, str]) -> None:
    root = make_corpus(tmp_path / "videos", 1, frames=2)
    ended = cli.run(*cli.features(root, tmp_path / "store"), "--runner", "ray", code=2, **without_ray)
    assert "ray can't be imported" in ended.stderr
    assert ".venv" in ended.stderr
    assert "--runner local" in ended.stderr
    assert not list(tmp_path.glob("store/*/*/shards/*"))


def test_plans_need_no_ray(tmp_path: Path, without_ray: dict[str, str]) -> None:
    root = make_corpus(tmp_path / "videos", 1, frames=2)
    assert "first time" in cli.run(*cli.features(root, tmp_path / "store"), "--plan", **without_ray).stdout
