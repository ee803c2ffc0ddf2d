"""One store over time: settings change, files change, come, go and move; only what is new is computed."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from stages.features.store.reader import FeatureStore
from tests import cli
from tests.faults.decoders import BAD, tries, verdict
from tests.faults.stores import artifact, ledger, manifests, marks, outcomes, unchanged
from tests.media import make_corpus, make_video

VIDEOS, FRAMES = 6, 5


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a corpus, and beside it the store of a finished run; changed by no test."""
    folder = tmp_path_factory.mktemp("growing")
    make_corpus(folder / "videos", VIDEOS, frames=FRAMES)
    cli.run(*command(folder))
    return folder


@pytest.fixture
def folder(finished: Path, tmp_path: Path) -> Path:
    """A copy of `finished`: equal modification times, so everything in it is cached."""
    shutil.copytree(finished, tmp_path / "here", copy_function=shutil.copy2)
    return tmp_path / "here"


def command(folder: Path, *more: object) -> list[object]:
    options = ("--set", "layout.shard_videos=2", "--runner", "local")
    return cli.features(folder / "videos", folder / "store", *options, *more)


def features(store: Path) -> FeatureStore:
    return FeatureStore(artifact(store, "features").root)


def added(before: dict, store: Path) -> set[str]:
    """Files of committed shards that were not there before, by name."""
    return {Path(name).name for name in marks(store).keys() - before.keys()}


def test_a_copied_or_moved_corpus_is_cached(folder: Path) -> None:
    before = marks(folder / "store")
    assert "nothing to do" in cli.run(*command(folder)).stdout
    (folder / "elsewhere").mkdir()
    (folder / "videos").rename(folder / "elsewhere" / "videos")
    moved = cli.features(folder / "elsewhere" / "videos", folder / "store", "--runner", "local")
    assert "nothing to do" in cli.run(*moved).stdout
    (folder / "elsewhere").rename(folder / "there")
    (folder / "there" / "videos").rename(folder / "renamed")
    renamed = cli.features(
        folder / "renamed", folder / "store", "--runner", "local", "--set", "data.name=videos"
    )
    assert "nothing to do" in cli.run(*renamed).stdout
    assert marks(folder / "store") == before


def test_other_settings_go_beside_the_old_artifact(folder: Path) -> None:
    store = folder / "store"
    before = marks(store)
    other = command(folder, "--set", "decode.stride=2")
    planned = cli.run_json(*other, "--plan")
    assert "decode.stride None -> 2" in str(planned["stages"][1]["reasons"])
    cli.run(*other)
    assert unchanged(before, store)
    assert len(list(store.glob("catalog/*/stage.json"))) == 1
    first, second = sorted(store.glob("features/*/stage.json"), key=lambda p: p.stat().st_mtime_ns)
    assert FeatureStore(first.parent).count("clip_00@mp4") == FRAMES
    assert FeatureStore(second.parent).frames("clip_00@mp4")[0].tolist() == [0, 2, 4]
    assert "nothing to do" in cli.run(*command(folder)).stdout


def test_a_changed_file_supersedes_its_old_results(folder: Path, tmp_path: Path) -> None:
    store, clip = folder / "store", folder / "videos" / "clip_03.mp4"
    before = marks(store)
    old = features(store).array("clip_03@mp4")
    make_video(clip, FRAMES + 2, seed=99)
    assert "1 file changed" in cli.run(*command(folder), "--plan").stdout
    cli.run(*command(folder))
    assert unchanged(before, store)
    assert added(before, store) == {
        "catalog-000003.parquet", "features-000003-00.parquet", "features-000003-00.tar"
    }  # fmt: skip
    fresh = tmp_path / "fresh"
    (fresh / "videos").mkdir(parents=True)
    shutil.copy2(clip, fresh / "videos")
    cli.run(*command(fresh))
    new = features(store).array("clip_03@mp4")
    assert len(new) == FRAMES + 2 != len(old)
    np.testing.assert_array_equal(new, features(fresh / "store").array("clip_03@mp4"))
    lines = cli.run(*command(folder), "--explain", "clip_03.mp4").stdout.splitlines()
    for kind in ("catalog", "features"):
        told = [line for line in lines if line.strip().startswith(f"{kind}:")]
        assert ["[superseded]" in line for line in sorted(told, key=lambda t: "-000003" in t)] == [
            True,
            False,
        ]
    assert ledger(store, "features").totals().superseded == 1
    assert "nothing to do" in cli.run(*command(folder)).stdout


def test_added_and_removed_files(folder: Path) -> None:
    store = folder / "store"
    before = marks(store)
    gone = folder / "videos" / "clip_01.mp4"
    gone.unlink()
    make_video(folder / "videos" / "deeper" / "clip_0a.mp4", FRAMES, seed=7)
    planned = cli.run_json(*command(folder), "--plan")
    assert (planned["gone"], planned["listed"]) == (1, VIDEOS)
    cli.run(*command(folder))
    assert unchanged(before, store)
    assert added(before, store) == {
        "catalog-000003.parquet", "features-000003-00.parquet", "features-000003-00.tar"
    }  # fmt: skip
    assert {"clip_01@mp4", "deeper+clip_0a@mp4"} <= set(features(store).videos)
    assert len(features(store)) == VIDEOS + 1
    assert "nothing to do" in cli.run(*command(folder)).stdout


def test_a_touched_file_costs_a_look_and_nothing_else(folder: Path) -> None:
    store = folder / "store"
    before = marks(store)
    os.utime(folder / "videos" / "clip_02.mp4")
    cli.run(*command(folder))
    assert unchanged(before, store)
    assert added(before, store) == {"catalog-000003.parquet"}
    assert ledger(store, "features").totals().superseded == 0
    assert len(features(store)) == VIDEOS
    assert "nothing to do" in cli.run(*command(folder)).stdout


def test_a_file_that_changes_and_changes_back(folder: Path) -> None:
    """The third version is the first one's bytes; it is current, whatever is cached of it."""
    store, clip = folder / "store", folder / "videos" / "clip_04.mp4"
    first, old = clip.read_bytes(), features(store).array("clip_04@mp4")
    make_video(clip, FRAMES + 1, seed=50)
    cli.run(*command(folder))
    assert features(store).count("clip_04@mp4") == FRAMES + 1
    clip.write_bytes(first)
    cli.run(*command(folder))
    np.testing.assert_array_equal(features(store).array("clip_04@mp4"), old)
    assert outcomes(store, "features")["clip_04@mp4"] == ("done", None)
    assert "nothing to do" in cli.run(*command(folder)).stdout


def test_a_broken_file_that_is_replaced_by_a_good_one(folder: Path) -> None:
    """And the other way round: the current outcome is always that of the file as it is."""
    store, clip = folder / "store", folder / "videos" / "clip_05.mp4"
    clip.write_text("no video any more")
    cli.run(*command(folder, "--max-failed", 1))
    assert outcomes(store, "catalog")["clip_05@mp4"] == ("rejected", "not_media")
    assert "clip_05@mp4" not in features(store).videos
    make_video(clip, FRAMES, seed=51)
    cli.run(*command(folder))
    assert outcomes(store, "catalog")["clip_05@mp4"] == ("done", None)
    assert features(store).count("clip_05@mp4") == FRAMES


def test_a_limited_run_is_a_part_of_the_full_one(finished: Path, tmp_path: Path) -> None:
    folder = tmp_path / "here"
    shutil.copytree(finished / "videos", folder / "videos", copy_function=shutil.copy2)
    store = folder / "store"
    cli.run(*command(folder), "--limit", 3)
    before = marks(store)
    assert len(features(store)) == 3
    assert not list(store.glob("*/*/_SUCCESS.json")) or not artifact(store, "features").success_json.exists()
    assert "nothing to do" in cli.run(*command(folder), "--limit", 3).stdout
    cli.run(*command(folder))
    assert unchanged(before, store)
    assert artifact(store, "features").success_json.exists()
    reference = features(finished / "store")
    assert list(features(store).videos) == list(reference.videos)
    for video in reference.videos:
        np.testing.assert_array_equal(features(store).array(video), reference.array(video))
    assert "nothing to do" in cli.run(*command(folder)).stdout


def test_failed_videos_are_tried_again_on_request_only(finished: Path, tmp_path: Path) -> None:
    folder = tmp_path / "here"
    shutil.copytree(finished / "videos", folder / "videos", copy_function=shutil.copy2)
    store, bad = folder / "store", ("--set", BAD, "--max-failed", "3")
    failing = [folder / "videos" / f"clip_0{n}.mp4" for n in (1, 4)]
    for path in failing:
        verdict(path).touch()
    cli.run(*command(folder, *bad))
    wanted = {"clip_01@mp4": ("rejected", "decode_error"), "clip_04@mp4": ("rejected", "decode_error")}
    assert wanted.items() <= outcomes(store, "features").items()
    before = marks(store)
    verdict(failing[0]).unlink()
    assert "nothing to do" in cli.run(*command(folder, *bad)).stdout
    assert marks(store) == before
    planned = cli.run_json(*command(folder, *bad, "--retry-failed"), "--plan")
    assert planned["stages"][1]["todo"] == 2
    cli.run(*command(folder, *bad, "--retry-failed"))
    assert unchanged(before, store)
    assert added(before, store) == {
        "features-000000-r00.parquet", "features-000000-r00.tar",
        "features-000002-r00.parquet", "features-000002-r00.tar",
    }  # fmt: skip
    assert outcomes(store, "features") | {"clip_04@mp4": ("rejected", "decode_error")} == outcomes(
        store, "features"
    )
    assert features(store).count("clip_01@mp4") == FRAMES
    report = cli.run_json(*command(folder, *bad), "--explain", "clip_01.mp4")["videos"]["clip_01@mp4"]
    assert [(e["status"], e["superseded"]) for e in report["features"]] == [
        ("rejected", True),
        ("done", False),
    ]
    assert tries(failing[0]).stat().st_size == 2, "each try is one decoder"
    assert "nothing to do" in cli.run(*command(folder, *bad)).stdout


@pytest.mark.parametrize(
    ("allowed", "code"),
    [((), 3), (("--max-failed", 0), 3), (("--max-failed", 1), 0),
     (("--max-failed", "25%"), 0), (("--max-failed", "24.9%"), 3)],
)  # fmt: skip
def test_more_rejects_than_allowed_end_with_3(half_bad: Path, allowed: tuple, code: int) -> None:
    ended = cli.run(*command(half_bad, *allowed), code=code)
    assert ("1 of 4 videos were rejected" in ended.stderr) == (code == 3)
    assert len(features(half_bad / "store")) == 3, "the others finish"
    assert len(manifests(half_bad / "store", "features")) == 2


@pytest.fixture(scope="module")
def half_bad(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("half_bad")
    make_corpus(folder / "videos", 3, frames=2)
    (folder / "videos" / "text.mp4").write_text("this is no video")
    return folder
