"""Promise 1: kill the driver at any time and run the same command again."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import cli
from tests.faults.conftest import PER_SHARD, VIDEOS, Command
from tests.faults.gates import shut
from tests.faults.processes import started
from tests.faults.stores import half_made, latest_run, leftovers, manifests, marks, unchanged

SHARDS = VIDEOS // PER_SHARD
Video = Callable[[int], Path]


def finish(command: list[object], store: Path, reference: Path) -> None:
    """Run again: only what is missing is made, what was committed stays, the bytes are the reference's."""
    before = marks(store)
    done = len(manifests(store, "features"))
    cli.run(*command)
    assert unchanged(before, store)
    assert cli.digests(store) == cli.digests(reference)
    assert latest_run(store)["stages"]["features"]["shards"] == SHARDS - done


@pytest.mark.parametrize("done", [0, 1, 3])
def test_a_killed_driver_is_taken_up_where_it_was(
    done: int, command: Command, video: Video, reference: Path, tmp_path: Path
) -> None:
    """In the middle of a shard of features: its catalog is there, and ``done`` shards of features."""
    store = tmp_path / "store"
    with shut(video(done * PER_SHARD + 1)) as gate, started(*command(store)) as run:
        run.until(lambda: gate.reached, f"shard of features after {done}")
        run.kill_tree()
    counts = [len(manifests(store, kind)) for kind in ("catalog", "features")]
    assert counts == [done + 1, done]
    assert len(half_made(store)) == 1, "hidden files are all that is left of what it was writing"
    assert cli.digests(store).items() <= cli.digests(reference).items()
    finish(command(store), store, reference)


def test_a_killed_driver_takes_its_children_along(
    command: Command, video: Video, reference: Path, tmp_path: Path
) -> None:
    """SIGKILL for the driver alone: pool workers and decoder children end by themselves."""
    store = tmp_path / "store"
    with shut(video(2), video(4)) as gates, started(*command(store, "--workers", 2)) as run:
        run.until(lambda: gates.reached, "two shards that are being made")
        assert len(run.children()) >= 4, "two workers and their decoders at least"
        run.process.kill()
        run.process.wait()
        run.await_end()
    assert len(manifests(store, "features")) == 1
    finish(command(store), store, reference)


@pytest.mark.parametrize("seed", [1])
def test_kills_at_random_moments(seed: int, command: Command, reference: Path, tmp_path: Path) -> None:
    """Three kills anywhere, from the start of the interpreter to the last file; then one run to the end."""
    store, moments = tmp_path / "store", random.Random(seed)
    for _ in range(3):
        before = marks(store)
        with started(*command(store, "--workers", moments.choice([1, 2]))) as run:
            moment = time.monotonic() + moments.uniform(0.3, 4)
            while time.monotonic() < moment and not run.ended:
                time.sleep(0.01)
            run.kill_tree()
        assert unchanged(before, store)
        assert cli.digests(store).items() <= cli.digests(reference).items() or leftovers(store)
    cli.run(*command(store))
    assert cli.digests(store) == cli.digests(reference)


def test_a_killed_ray_driver_is_taken_up_and_leaves_no_worker(
    command: Command, video: Video, reference: Path, tmp_path: Path, short_folder: Path
) -> None:
    """Ray ends its daemons and workers; its agents follow when they have given up asking for dead ones."""
    store = tmp_path / "store"
    env = {"HOME": str(tmp_path), "RAY_TMPDIR": str(short_folder)}
    workers = command(store, "--workers", 2, runner="ray")
    with shut(video(2), video(4)) as gates, started(*workers, **env) as run:
        run.until(lambda: gates.reached, "two shards that are being made")
        family = run.commands()
        assert any("ShardOwner" in name for name in family.values()), family
        run.process.kill()
        run.process.wait()
        run.await_end({pid for pid, name in family.items() if "Agent" not in name})
    assert len(manifests(store, "features")) < SHARDS
    finish(command(store), store, reference)
