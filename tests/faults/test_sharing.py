"""Runs that share a store divide the work; what they lose of their leases costs work and nothing else."""

from __future__ import annotations

import json
import os
import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines import collecting
from pipelines.output import Output
from tests import cli
from tests.faults.decoders import GATED
from tests.faults.gates import shut
from tests.faults.processes import started, wait_until
from tests.faults.stores import artifact, half_made, leftovers, manifests
from tests.media import make_corpus

SHARDS, FRAMES = 12, 4
Make = Callable[..., list[object]]
Video = Callable[[int], Path]


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Video:
    """A video by its number, which is its shard's as well."""
    root = make_corpus(tmp_path_factory.mktemp("sharing") / "videos", SHARDS, frames=FRAMES)
    return lambda number: root / f"clip_{number:02d}.mp4"


@pytest.fixture(scope="module")
def make(video: Video) -> Make:
    """The arguments of a run on twelve videos, one per shard."""

    def arguments(store: Path, *more: object, runner: str = "local") -> list[object]:
        settings = ["--set", "layout.shard_videos=1", "--set", GATED, "--runner", runner]
        return cli.features(video(0).parent, store, "--set", "backbone.facets=[tokens,rgb]", *settings, *more)

    return arguments


@pytest.fixture(scope="module")
def alone(make: Make, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store of a single run."""
    store = tmp_path_factory.mktemp("alone") / "store"
    cli.run(*make(store))
    return store


def made(store: Path, kind: str) -> list[int]:
    """How many shards each run on the store has made itself, in no order."""
    records = [json.loads(path.read_text()) for path in store.glob("runs/*/status.json")]
    return sorted(record["stages"].get(kind, {"made": 0})["made"] for record in records)


def leases(store: Path, kind: str = "*") -> list[Path]:
    return [path for path in store.glob(f"{kind}/*/leases/*.json") if not path.name.startswith(".")]


def names(paths: list[Path]) -> set[str]:
    return {path.stem for path in paths}


def shards(*numbers: int) -> set[str]:
    """Names of files of these shards of features."""
    return {f"features-{number:06d}-00" for number in numbers}


def test_two_runs_make_every_shard_once(make: Make, video: Video, alone: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    with shut(video(1), video(2)) as gates, started(*make(store, "--workers", 2)) as one:
        one.until(lambda: gates.reached, "two shards that are being made")
        with started(*make(store)) as other:
            other.until(lambda: "waiting for 2 shards" in other.output, "word on what is held")
            assert names(leases(store)) == shards(1, 2)
            assert names(manifests(store, "features")) == shards(*range(SHARDS)) - shards(1, 2)
            gates.open()
            one.wait(0)
            other.wait(0)
    assert sum(made(store, "catalog")) == SHARDS
    assert made(store, "features") == [3, SHARDS - 3]
    assert cli.digests(store) == cli.digests(alone)
    assert not leases(store) and not leftovers(store)


def test_a_run_that_stood_still_finds_its_shard_made(
    make: Make, video: Video, alone: Path, tmp_path: Path
) -> None:
    """Its lease has expired meanwhile, and another run has made the one shard that was left."""
    store = tmp_path / "store"
    shutil.copytree(alone, store)
    last = artifact(store, "features")
    last.manifest(f"{SHARDS - 1:06d}-00").unlink()
    last.index_path.unlink()
    with shut(video(SHARDS - 1)) as gate, started(*make(store), TUBEFLOW_LEASE_S="3") as one:
        one.until(lambda: gate.reached, "shard that is being made")
        with one.paused():
            gate.open()
            cli.run(*make(store))
            assert len(manifests(store, "features")) == SHARDS and not leases(store)
        one.wait(0)
    assert made(store, "features") == [1, 1, SHARDS], "both have made it: one of them in vain"
    assert cli.digests(store) == cli.digests(alone)
    assert not leases(store) and not leftovers(store)


def test_the_other_run_takes_over_from_a_killed_one(
    make: Make, video: Video, alone: Path, tmp_path: Path
) -> None:
    """At once what was made on this machine; what was made on another one, when its lease has expired."""
    store = tmp_path / "store"
    held = shut(video(1), video(2))
    with held as gates, started(*make(store, "--workers", 2), TUBEFLOW_LEASE_S="3600") as one:
        one.until(lambda: gates.reached, "two shards that are being made")
        with started(*make(store)) as other:
            other.until(lambda: "waiting for 2 shards" in other.output, "word on what is held")
            with one.paused():  # it renews nothing
                here, elsewhere = sorted(leases(store))
                fields = json.loads(elsewhere.read_text())
                changed = {"place": "elsewhere", "expires": time.time() + 3, "life": 3.0}
                elsewhere.write_text(json.dumps(fields | changed))
                one.kill_tree()
            gates.open()
            other.wait(0)
    assert {here.stem, elsewhere.stem} == shards(1, 2)
    assert made(store, "features")[-1] == SHARDS - 1, "all but what the killed one had committed"
    assert cli.digests(store) == cli.digests(alone)
    assert not leases(store)


def test_leases_that_get_lost_cost_no_more_than_work(
    make: Make, video: Video, alone: Path, tmp_path: Path
) -> None:
    """A third process removes leases while both runs drop features that are done with: all of them until
    both are in the middle of the same shard, then some at random.
    """
    more = ("--set", "method.name=kmeans", "--set", "kmeans.facet=rgb", "--set", "kmeans.clusters=2")
    single, store, choice = tmp_path / "single", tmp_path / "store", random.Random(5)
    shutil.copytree(alone, single)
    cli.run("segment", *make(single, *more)[1:])
    arguments = ["segment", *make(store, *more, "--set", "keep=results")[1:]]

    def lose(share: float) -> None:
        for path in leases(store):
            if choice.random() < share:
                path.unlink(missing_ok=True)

    def both() -> bool:
        lose(1.0)
        time.sleep(0.05)  # looking takes time from those that work
        return gate.arrivals[0] >= 2

    with shut(video(3)) as gate, started(*arguments) as one:
        one.until(lambda: gate.reached, "shard that is being made")
        with started(*arguments, "--workers", 2) as other:
            other.until(both, "the same shard in the other run")
            gate.open()
            while not (one.ended and other.ended):
                lose(0.7)
                time.sleep(0.05)
            one.wait(0)
            other.wait(0)
    found, expected = cli.digests(store), cli.digests(single)
    assert sum(made(store, "features")) > SHARDS, "some were made twice"
    assert {name: digest for name, digest in expected.items() if ".tar" not in name} == {
        name: digest for name, digest in found.items() if ".tar" not in name
    }
    assert found.items() <= expected.items(), "and of the features what is not dropped"
    assert list(store.glob("features/*/dropped/*")), "beside one another"
    assert not leftovers(store)


def test_gc_beside_a_living_run_takes_only_what_dead_ones_left(
    make: Make, video: Video, alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "store"
    shutil.copytree(artifact(alone, "features").root, store / "features" / "dead-00000000")
    dead = artifact(store, "features")
    orphan, temp = dead.shard("000003-00"), dead.shard("000004-00").with_name(".x.tar.0.tmp")
    dead.manifest("000003-00").unlink()
    temp.touch()
    (store / "text").mkdir()
    text = store / "text" / ".x.safetensors.0.tmp"
    text.touch()
    for path in (orphan, temp, text):
        os.utime(path, (time.time() - 3600,) * 2)
    left = [path.name for path in dead.root.glob("shards/*") if path not in (orphan, temp)]
    monkeypatch.setattr(collecting, "YOUNG_S", 0.0)  # harder: nothing is spared for its youth
    first, later = shut(video(1), video(2)), shut(video(6), video(7))
    with first as gates, later as others, started(*make(store, "--workers", 2)) as run:
        for held in (gates, others):
            run.until(lambda held=held: held.reached, "two shards that are being made")
            living = [*leases(store), *half_made(store)]
            assert len(living) >= 4, "two leases and two temporary shards"
            assert collecting.collect(store, True, Output(True)) == 0
            assert all(path.exists() for path in living)
            held.open()
        while not run.ended:
            assert collecting.collect(store, True, Output(True)) == 0
        run.wait(0)
    assert not (orphan.exists() or temp.exists() or text.exists())
    assert [path.name for path in dead.root.glob("shards/*")] == left
    shutil.rmtree(dead.root)
    assert cli.digests(store) == cli.digests(alone)


@pytest.mark.long
def test_two_runs_on_ray_share(
    make: Make, video: Video, alone: Path, tmp_path: Path, short_folder: Path
) -> None:
    """Held shards travel through Ray, and a run on Ray goes on after it has waited."""
    store = tmp_path / "store"
    with shut(video(2)) as gate, started(*make(store)) as one:
        one.until(lambda: gate.reached, "shard that is being made")
        env = {"HOME": str(tmp_path), "RAY_TMPDIR": str(short_folder)}
        with started(*make(store, "--workers", 2, runner="ray"), **env) as other:
            other.until(lambda: "waiting for 1 shard" in other.output, "word on what is held")
            assert len(manifests(store, "features")) == SHARDS - 1
            gate.open()
            one.wait(0)
            other.wait(0)
            wait_until(lambda: not other.children(), "end of Ray")
    assert made(store, "features") == [3, SHARDS - 3]
    assert cli.digests(store) == cli.digests(alone)
