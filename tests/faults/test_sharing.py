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
        return cli.features(root, store, *settings, *more)

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


def leases(store: Path) -> list[Path]:
    return [path for path in store.glob("*/*/leases/*.json") if not path.name.startswith(".")]


@pytest.mark.parametrize("workers", [1, 2])
def test_two_runs_make_every_shard_once(make: Make, alone: Path, tmp_path: Path, workers: int) -> None:
    store = tmp_path / "store"
    with started(*make(store, "--workers", workers)) as one:
        wait_until(lambda: manifests(store, "features") or one.ended, "features shard")
        with one.paused(), started(*make(store)) as other:  # it stands in the middle of a shard or two
            held = {path.stem for path in leases(store)}
            there = {path.stem for path in manifests(store, "features")}
            assert held
            wait_until(lambda: len(manifests(store, "features")) > len(there) + 2 or other.ended, "its share")
            assert not other.ended and not held & {path.stem for path in manifests(store, "features")}
            for process in reversed(psutil_family(one.process.pid)):
                process.resume()
            one.wait(0)
            other.wait(0)
    assert sum(made(store, "catalog")) == sum(made(store, "features")) == SHARDS
    assert min(made(store, "features")) > 1
    assert cli.digests(store) == cli.digests(alone)
    assert not leases(store) and not leftovers(store)
    assert "nothing to do" in cli.run(*make(store)).stdout


def psutil_family(pid: int) -> list:
    import psutil

    parent = psutil.Process(pid)
    return [parent, *parent.children(recursive=True)]


def test_a_run_that_begins_waits_for_what_is_being_made_and_says_so(
    make: Make, alone: Path, tmp_path: Path
) -> None:
    """All that is left is one shard of a run that stands still: until its lease is over."""
    store = tmp_path / "store"
    shutil.copytree(alone, store)
    last = artifact(store, "features")
    last.manifest(f"{SHARDS - 1:06d}-00").unlink()
    last.index_path.unlink()
    with started(*make(store), TUBEFLOW_LEASE_S="8") as one:
        wait_until(lambda: leases(store) or one.ended, "lease")
        with one.paused():
            said = cli.run(*make(store)).stderr
            assert "waiting for 1 shard that run " in said
            assert [path.read_text() for path in leases(store)] == [], "the second run has removed its own"
        one.wait(0)
    assert made(store, "features")[1:] == [0, 1] or sorted(made(store, "features")[1:]) == [1, 1]
    assert cli.digests(store) == cli.digests(alone)


@pytest.mark.parametrize("here", [True, False])
def test_the_other_run_takes_over_from_a_killed_one(
    make: Make, alone: Path, tmp_path: Path, here: bool
) -> None:
    """At once where it ran on the same machine, else when its leases have expired."""
    store = tmp_path / "store"
    with started(*make(store, "--workers", 2), TUBEFLOW_LEASE_S="4") as one:
        wait_until(lambda: len(manifests(store, "features")) > 1 or one.ended, "features shards")
        with started(*make(store), TUBEFLOW_LEASE_S="4") as other:
            wait_until(lambda: len(list(store.glob("runs/*/status.json"))) == 2, "record of the second")
            wait_until(lambda: leases(store), "lease")
            one.kill_tree()
            if not here:
                for path in leases(store):
                    fields = json.loads(path.read_text())
                    if fields["pid"] != other.process.pid:
                        path.write_text(json.dumps(fields | {"place": "elsewhere"}))
            other.wait(0)
    assert cli.digests(store) == cli.digests(alone)
    assert not leases(store)


def test_leases_that_get_lost_cost_no_more_than_work(make: Make, alone: Path, tmp_path: Path) -> None:
    """A third process removes leases at random; what is made twice is committed once."""
    store, choice, lost = tmp_path / "store", random.Random(5), 0
    with started(*make(store)) as one, started(*make(store, "--workers", 2)) as other:
        while not (one.ended and other.ended):
            for path in leases(store):
                if choice.random() < 0.7:
                    path.unlink(missing_ok=True)
                    lost += 1
            time.sleep(0.02)
        one.wait(0)
        other.wait(0)
    assert lost > SHARDS
    assert cli.digests(store) == cli.digests(alone)
    assert not leftovers(store)
    assert cli.run_json(*make(store), "--verify")["damaged"] == []


def test_runs_that_share_drop_what_both_are_done_with(make: Make, tmp_path: Path) -> None:
    """With keep=results, a run drops features although another run of the same recipe lives."""
    store = tmp_path / "store"
    args = make(store, "--set", "keep=results", "--set", "method.name=kmeans", "--set", "kmeans.facet=rgb")
    args = ["segment", *args[1:], "--set", "backbone.facets=[tokens,rgb]"]
    with started(*args) as one, started(*args, "--workers", 2) as other:
        wait_until(lambda: list(store.glob("features/*/dropped/*")) or one.ended, "dropped shard")
        assert not (one.ended or other.ended), "a shard is dropped while both live"
        one.wait(0)
        other.wait(0)
    assert len(manifests(store, "tubes")) == SHARDS
    cli.run(*args)
    assert not list(store.glob("features/*/shards/*.tar")), "the next run sweeps up"
    assert cli.run_json(*args, "--verify")["damaged"] == []


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
                for process in reversed(psutil_family(one.process.pid)):
                    process.resume()
                one.wait(0)
                other.wait(0)
                wait_until(lambda: not other.children(), "end of Ray", timeout=30)
    assert sum(made(store, "features")) == SHARDS
    assert cli.digests(store) == cli.digests(alone)
