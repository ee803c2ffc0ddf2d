"""Awkward real-world clips from outside: each ends as its row in ``clips.csv`` says."""

from __future__ import annotations

import csv
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from stages.catalog.ids import source_id, split_video, uri_from_path
from stages.features.store.reader import FeatureStore
from stages.outcome import ERROR_CLASSES
from tests import cli
from tests.faults.stores import artifact
from tests.outside import outside


class Clips:
    """What a run over the clips has left, by source id."""

    def __init__(self, folder: Path, store: Path) -> None:
        with (folder / "clips.csv").open(newline="") as file:
            self.rows = {source_id(uri_from_path(row["file"].encode())): row for row in csv.DictReader(file)}
        catalog = pq.read_table(artifact(store, "catalog").root / "shards").to_pylist()
        self.catalog = {row["source"]: row for row in catalog}
        self.features = FeatureStore(artifact(store, "features").root)
        self.frames: dict[str, int] = {}
        for video in self.features.videos:
            source = split_video(video)[0]
            self.frames[source] = self.frames.get(source, 0) + self.features.count(video)
        self.rejects: dict[str, str] = {}
        for kind in ("catalog", "features"):
            for path in (artifact(store, kind).root / "rejects").glob("*.parquet"):
                for row in pq.read_table(path).to_pylist():
                    self.rejects[split_video(row["video"])[0]] = row["error_class"]

    def good(self) -> dict[str, dict]:
        """Rows of clips that decode without an error."""
        return {
            source: row
            for source, row in self.rows.items()
            if not row["decode_error"] and int(row["decodable_frames"] or 0) >= 1
        }


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Clips:
    """A run with every frame of every clip, small, by two workers."""
    folder, store = outside("data", "clips"), tmp_path_factory.mktemp("clips") / "store"
    settings = (
        "decode.fps=all",
        "decode.size=[32,32]",
        "data.segment_frames=100000",
        "layout.shard_videos=4",
    )
    options = [option for setting in settings for option in ("--set", setting)]
    cli.run(
        "features", "--set", f"data.root={folder}", "--set", f"store={store}", *options,
        "--runner", "local", "--workers", 2, "--max-failed", "100%",
    )  # fmt: skip
    return Clips(folder, store)


def test_there_are_clips(clips: Clips) -> None:
    assert clips.rows


def test_good_clips_have_every_frame(clips: Clips) -> None:
    expected = {source: int(row["decodable_frames"]) for source, row in clips.good().items()}
    assert {source: clips.frames.get(source, clips.rejects.get(source)) for source in expected} == expected


def test_all_others_are_rejected(clips: Clips) -> None:
    others = clips.rows.keys() - clips.good().keys()
    assert {source for source in others if clips.rejects.get(source) not in ERROR_CLASSES} == set()
    assert not others & clips.frames.keys()


def test_a_clip_is_either_done_or_rejected(clips: Clips) -> None:
    assert not clips.frames.keys() & clips.rejects.keys()
    assert clips.rows.keys() <= clips.frames.keys() | clips.rejects.keys()


def test_the_catalog_has_sizes_before_rotation(clips: Clips) -> None:
    good = clips.good()
    expected = {source: (int(row["width"]), int(row["height"])) for source, row in good.items()}
    found = {s: (clips.catalog[s]["width"], clips.catalog[s]["height"]) for s in good if s in clips.catalog}
    assert found == expected


def test_frames_are_numbered_and_in_order(clips: Clips) -> None:
    for video in clips.features.videos:
        index, pts = clips.features.frames(video)
        assert index.tolist() == list(range(len(index)))
        assert (pts[1:] >= pts[:-1]).all(), video
