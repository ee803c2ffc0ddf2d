"""Promise 1: kill the driver at any time and run the same command again."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from tests import cli
from tests.faults.conftest import PER_SHARD, VIDEOS, Command
from tests.faults.processes import session_members, started, wait_until
from tests.faults.stores import latest_run, leftovers, manifests, marks, unchanged

SHARDS = VIDEOS // PER_SHARD


def finish(command: list[object], store: Path, reference: Path) -> None:
    """Run again: only what is missing is made, what was committed stays, the bytes are the reference's."""
    before = marks(store)
    done = len(manifests(store, "features"))
    cli.run(*command)
    assert unchanged(before, store)
    assert cli.digests(store) == cli.digests(reference)
    assert latest_run(store)["stages"]["features"]["shards"] == SHARDS - done


@pytest.mark.parametrize(("kind", "count"), [("catalog", 1), ("features", 1), ("features", 3)])
def test_a_killed_driver_is_taken_up_where_it_was(
    kind: str, count: int, command: Command, reference: Path, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    with started(*command(store)) as run:
        wait_until(lambda: len(manifests(store, kind)) >= count or run.ended, f"{kind} shard {count}")
        run.kill_tree()
    assert len(manifests(store, "features")) < SHARDS, "the run was over before it was killed"
    finish(command(store), store, reference)


def test_a_driver_killed_while_it_writes_leaves_only_hidden_files(
    command: Command, reference: Path, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    with started(*command(store)) as run:
        wait_until(lambda: any(".tar." in path.name for path in leftovers(store)), "temporary shard")
        run.kill_tree()
    assert any(".tar." in path.name for path in leftovers(store))
    assert cli.digests(store).items() <= cli.digests(reference).items()
    finish(command(store), store, reference)


def test_a_killed_driver_takes_its_children_along(command: Command, reference: Path, tmp_path: Path) -> None:
    """SIGKILL for the driver alone: pool workers and decoder children end by themselves."""
    store = tmp_path / "store"
    with started(*command(store, "--workers", 2)) as run:
        wait_until(lambda: manifests(store, "features") or run.ended, "features shard")
        assert len(run.children()) >= 3, "two workers and a decoder at least"
        run.process.kill()
        run.process.wait()
        wait_until(lambda: not session_members(run.process.pid), "end of the children", timeout=30, every=0.1)
    assert len(manifests(store, "features")) < SHARDS
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
    command: Command, reference: Path, tmp_path: Path, short_folder: Path
) -> None:
    """Ray ends its daemons and workers; its agents follow when they have given up asking for dead ones."""
    store = tmp_path / "store"
    env = {"HOME": str(tmp_path), "RAY_TMPDIR": str(short_folder)}
    with started(*command(store, "--workers", 2, runner="ray"), **env) as run:
        wait_until(lambda: manifests(store, "features") or run.ended, "features shard")
        family = run.commands()
        assert any("ShardOwner" in name for name in family.values()), family
        run.process.kill()
        run.process.wait()
        ours = {pid for pid, name in family.items() if "Agent" not in name}
        wait_until(
            lambda: not ours & {p.pid for p in session_members(run.process.pid)},
            "end of Ray's workers", timeout=60, every=0.2,
        )  # fmt: skip
    assert len(manifests(store, "features")) < SHARDS
    finish(command(store), store, reference)
