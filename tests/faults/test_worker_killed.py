"""A killed worker costs its shard another start and nothing else: the run goes on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import psutil

from stages.artifacts import leases
from tests import cli
from tests.faults.conftest import Command
from tests.faults.gates import Gates, shut
from tests.faults.processes import Run, started
from tests.faults.stores import artifact, half_made, manifests, marks, unchanged

Video = Callable[[int], Path]
HELD = (1, 3)
"""Videos in the middle of the first two shards."""


def kill_one(run: Run, store: Path, gates: Gates, is_worker: Callable[[str], bool]) -> None:
    """Kill the worker that is making the first shard of features, in the middle of it."""
    run.until(lambda: gates.reached, "two shards that are being made")
    assert len(half_made(store)) >= 2
    holder = leases.recorded(artifact(store, "features").lease("000000-00"))
    assert holder is not None and is_worker(run.commands()[holder.pid]), run.commands()
    assert sum(map(is_worker, run.commands().values())) >= 2, run.commands()
    psutil.Process(holder.pid).kill()
    assert not artifact(store, "features").manifest("000000-00").exists()


def test_the_local_pool_goes_on_without_a_killed_worker(
    command: Command, video: Video, reference: Path, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    with shut(*map(video, HELD)) as gates, started(*command(store, "--workers", 2)) as run:
        kill_one(run, store, gates, lambda text: "multiprocessing.spawn" in text)
        before = marks(store)
        gates.open()
        run.wait(0)
    assert before and unchanged(before, store)
    assert cli.digests(store) == cli.digests(reference)


def test_ray_goes_on_without_a_killed_worker(
    command: Command, video: Video, reference: Path, tmp_path: Path, short_folder: Path
) -> None:
    store = tmp_path / "store"
    env = {"HOME": str(tmp_path), "RAY_TMPDIR": str(short_folder)}
    workers = command(store, "--workers", 2, runner="ray")
    with shut(*map(video, HELD)) as gates, started(*workers, **env) as run:
        kill_one(run, store, gates, lambda text: "FeaturesShardOwner" in text)
        before = marks(store)
        gates.open()
        run.wait(0)
        run.await_end()
    assert before and unchanged(before, store)
    assert cli.digests(store) == cli.digests(reference)


def test_a_killed_decoder_costs_a_video_an_attempt_and_no_more(
    command: Command, video: Video, reference: Path, tmp_path: Path
) -> None:
    """Someone else's SIGKILL (the OOM killer's, say) on a decoder child: the next one decodes the video."""
    store = tmp_path / "store"
    with shut(video(3)) as gate, started(*command(store)) as run:
        run.until(lambda: gate.reached, "video that is being decoded")
        decoders = [pid for pid, text in run.commands().items() if "stages.decode.child" in text]
        assert decoders and len(manifests(store, "features")) == 1
        for pid in decoders:
            psutil.Process(pid).kill()
        run.until(lambda: gate.arrivals == [2], "another decoder at the same video")
        gate.open()
        run.wait(0)
    assert cli.digests(store) == cli.digests(reference)
