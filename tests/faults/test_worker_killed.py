"""A killed worker costs its shard another start and nothing else: the run goes on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import psutil

from tests import cli
from tests.faults.conftest import PER_SHARD, VIDEOS, Command
from tests.faults.processes import Run, started, wait_until
from tests.faults.stores import leftovers, manifests, marks, unchanged

SHARDS = VIDEOS // PER_SHARD


def kill_one(run: Run, store: Path, is_worker: Callable[[str], bool]) -> None:
    """Kill a worker once a shard of features has been begun."""
    wait_until(lambda: any(".tar." in path.name for path in leftovers(store)) or run.ended, "temporary shard")
    workers = sorted(pid for pid, command in run.commands().items() if is_worker(command))
    assert len(workers) >= 2, run.commands()
    psutil.Process(workers[0]).kill()
    assert len(manifests(store, "features")) < SHARDS, "the run was over before a worker was killed"


def test_the_local_pool_goes_on_without_a_killed_worker(
    command: Command, reference: Path, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    with started(*command(store, "--workers", 2)) as run:
        kill_one(run, store, lambda text: "multiprocessing.spawn" in text)
        before = marks(store)
        run.wait(0)
    assert unchanged(before, store)
    assert cli.digests(store) == cli.digests(reference)


def test_ray_goes_on_without_a_killed_worker_and_four_workers_give_the_same_bytes(
    command: Command, reference: Path, tmp_path: Path, short_folder: Path
) -> None:
    store = tmp_path / "store"
    env = {"HOME": str(tmp_path), "RAY_TMPDIR": str(short_folder)}
    with started(*command(store, "--workers", 4, runner="ray"), **env) as run:
        kill_one(run, store, lambda text: "FeaturesShardOwner" in text)
        before = marks(store)
        run.wait(0)
        wait_until(lambda: not run.children(), "end of Ray", timeout=30)
    assert unchanged(before, store)
    assert cli.digests(store) == cli.digests(reference)


def test_a_killed_decoder_costs_a_video_an_attempt_and_no_more(
    command: Command, reference: Path, tmp_path: Path
) -> None:
    """Someone else's SIGKILL (the OOM killer's, say) on a decoder child: the next one decodes the video."""
    store = tmp_path / "store"
    with started(*command(store)) as run:
        wait_until(lambda: manifests(store, "features") or run.ended, "features shard")
        decoders = [pid for pid, text in run.commands().items() if "stages.decode.child" in text]
        assert decoders
        for pid in decoders:
            psutil.Process(pid).kill()
        run.wait(0)
    assert cli.digests(store) == cli.digests(reference)
