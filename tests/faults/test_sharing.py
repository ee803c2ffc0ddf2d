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
from tests.faults.decoders import SLOW
from tests.faults.processes import started, wait_until
from tests.faults.stores import artifact, leftovers, manifests
from tests.media import make_corpus

SHARDS, FRAMES = 12, 8
Make = Callable[..., list[object]]


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """The arguments of a run on twelve videos, one per shard."""
    root = make_corpus(tmp_path_factory.mktemp("sharing") / "videos", SHARDS, frames=FRAMES)

    def arguments(store: Path, *more: object, runner: str = "local") -> list[object]:
        settings = ["--set", "layout.shard_videos=1", "--set", SLOW, "--runner", runner]
        return cli.features(root, store, "--set", "backbone.facets=[tokens,rgb]", *settings, *more)

    return arguments


@pytest.fixture(scope="module")
def alone(make: Make, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store of a single run."""
    store = tmp_path_factory.mktemp("alone") / "store"
    cli.run(*make(store))
    return store


def made(store: Path, kind: str) -> list[int]:
    """How many shards each run on the store has made itself."""
    records = [json.loads(path.read_text()) for path in sorted(store.glob("runs/*/status.json"))]
    return [record["stages"][kind]["made"] for record in records]


def leases(store: Path, kind: str = "*") -> list[Path]:
    return [path for path in store.glob(f"{kind}/*/leases/*.json") if not path.name.startswith(".")]


def names(paths: list[Path]) -> set[str]:
    return {path.stem for path in paths}


def test_two_runs_make_every_shard_once(make: Make, alone: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    with started(*make(store, "--workers", 2)) as one:
        wait_until(lambda: manifests(store, "features") or one.ended, "features shard")
        with one.paused(), started(*make(store)) as other:  # the first stands in the middle of a shard or two
            there = names(manifests(store, "features"))
            held = names(leases(store, "features")) - there
            wait_until(lambda: "waiting for" in other.output or other.ended, "word on what is held")
            assert held and not held & names(manifests(store, "features"))
            assert len(manifests(store, "features")) > len(there)
            one.go_on()
            one.wait(0)
            other.wait(0)
    assert sum(made(store, "catalog")) == sum(made(store, "features")) == SHARDS
    assert min(made(store, "features")) > 1
    assert cli.digests(store) == cli.digests(alone)
    assert not leases(store) and not leftovers(store)


def test_a_run_that_stood_still_finds_its_shard_made(make: Make, alone: Path, tmp_path: Path) -> None:
    """Its lease has expired meanwhile, and another run has made the one shard that was left."""
    store = tmp_path / "store"
    shutil.copytree(alone, store)
    last = artifact(store, "features")
    last.manifest(f"{SHARDS - 1:06d}-00").unlink()
    last.index_path.unlink()
    with started(*make(store), TUBEFLOW_LEASE_S="3") as one:
        wait_until(lambda: leases(store) or one.ended, "lease")
        with one.paused():
            cli.run(*make(store))
            assert len(manifests(store, "features")) == SHARDS and not leases(store)
        one.wait(0)
    stood, went = made(store, "features")[1:]
    assert went == 1
    assert stood in (0, 1), "it stood before it looked whether the shard is there, or in the middle of it"
    assert cli.digests(store) == cli.digests(alone)
    assert not leases(store) and not leftovers(store)


def test_the_other_run_takes_over_from_a_killed_one(make: Make, alone: Path, tmp_path: Path) -> None:
    """At once what was made on this machine; what was made on another one, when its lease has expired."""
    store = tmp_path / "store"
    with started(*make(store, "--workers", 2), TUBEFLOW_LEASE_S="20") as one:
        wait_until(
            lambda: (len(leases(store)) > 1 and manifests(store, "features")) or one.ended, "two leases"
        )
        with one.paused(), started(*make(store)) as other:
            wait_until(lambda: len(list(store.glob("runs/*/status.json"))) == 2, "record of the second")
            path = leases(store)[0]
            fields = json.loads(path.read_text())
            path.write_text(json.dumps(fields | {"place": "elsewhere"}))
            one.kill_tree()
            other.wait(0)
    assert cli.digests(store) == cli.digests(alone)
    for path in leases(store):  # it was killed between the commit and this: nobody waits for that
        assert path.parents[1].joinpath("manifest", f"{path.stem}.parquet").exists(), path


def test_leases_that_get_lost_cost_no_more_than_work(make: Make, alone: Path, tmp_path: Path) -> None:
    """A third process removes leases at random, while both runs drop features that are done with."""
    more = ("--set", "method.name=kmeans", "--set", "kmeans.facet=rgb", "--set", "kmeans.clusters=2")
    single, store, choice, lost = tmp_path / "single", tmp_path / "store", random.Random(5), 0
    shutil.copytree(alone, single)
    cli.run("segment", *make(single, *more)[1:])
    arguments = ["segment", *make(store, *more, "--set", "keep=results")[1:]]
    with started(*arguments) as one, started(*arguments, "--workers", 2) as other:
        while not (one.ended and other.ended):
            for path in leases(store):
                if choice.random() < 0.7:
                    path.unlink(missing_ok=True)
                    lost += 1
            time.sleep(0.02)
        one.wait(0)
        other.wait(0)
    assert lost > SHARDS
    found, expected = cli.digests(store), cli.digests(single)
    assert {name: digest for name, digest in expected.items() if ".tar" not in name} == {
        name: digest for name, digest in found.items() if ".tar" not in name
    }
    assert found.items() <= expected.items(), "and of the features what is not dropped"
    assert list(store.glob("features/*/dropped/*")), "beside one another"
    assert not leftovers(store)


def test_gc_beside_a_living_run_takes_only_what_dead_ones_left(
    make: Make, alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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
    rounds = 0
    with started(*make(store, "--workers", 2)) as run:
        wait_until(lambda: list(store.glob("runs/*/status.json")) or run.ended, "record")
        while not run.ended:
            assert collecting.collect(store, True, Output(True)) == 0
            rounds += 1
        run.wait(0)
    assert rounds > 3
    assert not (orphan.exists() or temp.exists() or text.exists())
    assert [path.name for path in dead.root.glob("shards/*")] == left
    shutil.rmtree(dead.root)
    assert cli.digests(store) == cli.digests(alone)


@pytest.mark.long
def test_two_runs_on_ray_share(make: Make, alone: Path, tmp_path: Path, short_folder: Path) -> None:
    """Held shards travel through Ray, and a run on Ray goes on after it has waited."""
    store = tmp_path / "store"
    with started(*make(store), TUBEFLOW_LEASE_S="30") as one:
        wait_until(lambda: len(manifests(store, "features")) > 1 or one.ended, "features shards")
        with one.paused():
            env = {"HOME": str(tmp_path), "RAY_TMPDIR": str(short_folder), "TUBEFLOW_LEASE_S": "30"}
            with started(*make(store, "--workers", 2, runner="ray"), **env) as other:
                wait_until(lambda: len(manifests(store, "features")) == SHARDS - 1 or other.ended, "the rest")
                wait_until(lambda: "waiting for 1 shard" in other.output or other.ended, "wait")
                one.go_on()
                one.wait(0)
                other.wait(0)
                wait_until(lambda: not other.children(), "end of Ray", timeout=30)
    assert sum(made(store, "features")) == SHARDS
    assert cli.digests(store) == cli.digests(alone)
