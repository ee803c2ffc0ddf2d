"""Nodes of a cluster killed at random, by seed: the bytes of an undisturbed run on one machine.

``TUBEFLOW_CHAOS_SEEDS="1 2 3"`` (``make chaos``) plays other seeds, with drivers killed as well and a recipe
that trains; by default one seed, of nodes alone.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import cli
from tests.cluster.nodes import Nodes, started_nodes
from tests.faults.chaos import Chaos, commits, schedule
from tests.faults.conftest import VIDEOS
from tests.faults.decoders import GATED
from tests.faults.gates import shut
from tests.faults.stores import leftovers

GIVEN = [int(seed) for seed in os.environ.get("TUBEFLOW_CHAOS_SEEDS", "").split()]
WORKERS = 3
TRAINING = (
    "backbone.name=patchstats", "decode.crop=none", "tubes.only_annotated=false",
    "solv.slots=3", "solv.slot_width=8", "solv.temporal_layers=1", "solv.temporal_heads=2", "solv.hidden=8",
    "solv.decoder=[8]", "train.steps=60", "train.batch=4", "run.checkpoint_s=0",
)  # fmt: skip


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    """A head that has no CPU for workers, and three nodes with one each."""
    with started_nodes(WORKERS) as found:
        yield found


class Recipe:
    """A command on the corpus, and what it leaves in the store of an undisturbed local run."""

    def __init__(self, corpus: Path, folder: Path, recipe: str, settings: tuple[str, ...]) -> None:
        shared = (
            f"data.root={corpus}",
            "decode.fps=all",
            "decode.size=[48,64]",
            "layout.shard_videos=1",
            GATED,
        )
        self._start = [recipe, *(part for one in (*shared, *settings) for part in ("--set", one))]
        cli.run(*self(folder), "--runner", "local")
        self.content = content(folder)
        self.commits = commits(folder)

    def __call__(self, store: Path) -> list[object]:
        return [*self._start, "--set", f"store={store}"]


def content(store: Path) -> dict[str, str]:
    """SHA-256 of all shards, manifests and rejects, and of the weights of models."""
    found = cli.digests(store)
    for done in store.glob("model/*/_SUCCESS.json"):
        files = done.parent / json.loads(done.read_text())["files"]
        for path in files.glob("*.safetensors"):
            found[f"{done.parent.name}/{path.name}"] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


@pytest.fixture(scope="module")
def features(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    return Recipe(corpus, tmp_path_factory.mktemp("calm") / "store", "features", ())


@pytest.fixture(scope="module")
def training(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    return Recipe(corpus, tmp_path_factory.mktemp("calm") / "store", "sprites_quality", TRAINING)


def play(
    nodes: Nodes, recipe: Recipe, store: Path, seed: int, kills: int, driver: bool, gate: tuple[Path, ...]
) -> None:
    """One disturbed run, compared with the calm one; ``gate``: the last video, or none."""
    plan = schedule(seed, recipe.commits, WORKERS, kills, driver)
    print(f"seed {seed}: {plan}")
    command = [*recipe(store), "--address", nodes.address, "--workers", WORKERS]
    with shut(*gate) as gates:
        chaos = Chaos(nodes, lambda: commits(store), command, gates)
        chaos.until_done(plan)
    print("\n".join(chaos.log))
    assert any("killed" in line for line in chaos.log), "nothing was disturbed"
    assert content(store) == recipe.content, chaos.log
    for path in leftovers(store):  # younger ones might be of a run that begins just now
        os.utime(path, (time.time() - 3600,) * 2)
    gc = cli.run(*recipe(store), "--gc", "--yes")
    assert not leftovers(store), gc.stdout
    assert content(store) == recipe.content
    again = cli.run(*recipe(store), "--runner", "local")
    assert "nothing to do" in again.stdout
    assert "Traceback" not in chaos.output, chaos.output


@pytest.mark.parametrize("seed", GIVEN or [6])
def test_nodes_killed_at_random_cost_no_byte(
    nodes: Nodes, features: Recipe, video: Callable[[int], Path], tmp_path: Path, seed: int
) -> None:
    last = (video(VIDEOS - 1),)
    play(nodes, features, tmp_path / "store", seed, 6 if GIVEN else 3, bool(GIVEN), last)


@pytest.mark.skipif(not GIVEN, reason="minutes per seed: make chaos")
@pytest.mark.parametrize("seed", GIVEN)
def test_nodes_killed_while_a_recipe_trains_cost_no_byte(
    nodes: Nodes, training: Recipe, tmp_path: Path, seed: int
) -> None:
    """Most of its commits come after the training, so that nothing holds it: it may be over too soon."""
    play(nodes, training, tmp_path / "store", seed, kills=5, driver=True, gate=())
