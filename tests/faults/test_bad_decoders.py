"""Promise 3: a decoder that crashes, hangs or grows costs one video, after a bounded number of attempts."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from stages.features.store.reader import FeatureStore
from tests import cli
from tests.faults.decoders import BAD, tries
from tests.faults.gates import shut
from tests.faults.processes import started
from tests.faults.stores import artifact, leftovers, outcomes
from tests.media import make_corpus, make_video

LIMITS = ("--set", "run.timeout_s=5", "--set", "run.memory_mb=700")


def command(root: Path, store: Path, *more: object) -> list[object]:
    options = ("--set", BAD, "--runner", "local", "--set", "layout.shard_videos=3", *LIMITS)
    return cli.features(root, store, *options, *more)


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Good videos, with bad ones at the beginning, in the middle and at the end of shards."""
    root = make_corpus(tmp_path_factory.mktemp("decoders") / "videos", 3, frames=4)
    for seed, name in enumerate(("segfault_a", "hang_b", "grow_c", "exit_z")):
        make_video(root / f"{name}.mp4", 4, seed=10 + seed)
    return root


def test_a_bad_decoder_costs_one_video(bad: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    cli.run(*command(bad, store, "--workers", 2, "--max-failed", 4))
    rejects = pq.read_table(artifact(store, "features").root / "rejects").to_pylist()
    found = {row["video"]: (row["error_class"], row["attempts"]) for row in rejects}
    assert found == {
        "segfault_a@mp4": ("crash", 2),
        "hang_b@mp4": ("timeout", 2),
        "grow_c@mp4": ("memory", 2),
        "exit_z@mp4": ("crash", 2),
    }
    messages = {row["video"]: row["message"] for row in rejects}
    assert "SIGSEGV" in messages["segfault_a@mp4"]
    assert "5 s" in messages["hang_b@mp4"]
    assert "700 MiB" in messages["grow_c@mp4"]
    for name in ("segfault_a", "hang_b", "grow_c", "exit_z"):
        assert tries(bad / f"{name}.mp4").stat().st_size == 2, "an attempt is one decoder"
    features = FeatureStore(artifact(store, "features").root)
    assert list(features.videos) == ["clip_00@mp4", "clip_01@mp4", "clip_02@mp4"]
    assert all(features.count(video) == 4 for video in features.videos)
    assert not leftovers(store)
    assert not list(artifact(store, "features").root.glob("attempts/*"))


def test_attempts_survive_a_killed_driver(tmp_path: Path) -> None:
    """Two of three attempts are spent when the driver is killed; the next run has one left."""
    root, store = make_corpus(tmp_path / "videos", 1, frames=3), tmp_path / "store"
    crashing = make_video(root / "exit.mp4", 3, seed=5)
    going = command(root, store, "--set", "run.attempts=3", "--max-failed", 1)
    with shut(crashing, after=2) as gate, started(*going) as run:
        run.until(lambda: gate.reached, "third attempt")
        assert tries(crashing).stat().st_size == 3
        run.kill_tree()
    (counted,) = store.glob("features/*/attempts/*.json")
    assert '"exit@mp4": 2' in counted.read_text()
    assert outcomes(store, "features") == {}
    cli.run(*going)
    assert outcomes(store, "features") == {"clip_00@mp4": ("done", None), "exit@mp4": ("rejected", "crash")}
    (reject,) = pq.read_table(artifact(store, "features").root / "rejects").to_pylist()
    assert reject["attempts"] == 3
    assert tries(crashing).stat().st_size == 4, "the killed third attempt was no failure; one more was made"


def test_a_decoder_that_cannot_be_had_is_no_videos_fault(tmp_path: Path) -> None:
    root, store = make_corpus(tmp_path / "videos", 1, frames=2), tmp_path / "store"
    missing = cli.features(root, store, "--runner", "local", "--set", "decode.decoder=tests.nowhere:Class")
    ended = cli.run(*missing, code=2)
    assert "tests.nowhere:Class" in ended.stderr
    assert not list(store.glob("features/*/rejects/*"))
