"""What was written is what is read: through manifests, and only what counts."""

import os

import numpy as np
import pyarrow as pa
import pytest

from stages.artifacts.commit import commit
from stages.artifacts.manifest import DamagedError
from stages.outcome import Done
from stages.tubes.labels import label_maps, overlapping_masks
from stages.tubes.reader import TubeShard, TubeStore, read_frames, read_tubes
from stages.tubes.table import TUBE_SCHEMA, TUBES_SCHEMA, tubes_of
from stages.tubes.writer import TubesWriter
from tests.stages.tubes.making import (
    SIZE,
    add_video,
    artifact_at,
    make_store,
    random_segmentation,
    squares,
    write_shard,
)

BORDERS = (2, 0, 3, 1)


def test_label_maps_come_back(tmp_path):
    videos = {name: random_segmentation(seed, frames=2 + seed) for seed, name in enumerate("abc")}
    artifact = make_store(tmp_path / "t", videos, borders=BORDERS)
    store = TubeStore(artifact.root)
    assert store.videos() == ["a", "b", "c"] and store.kinds() == ("decoder", "attention")
    for video, found in videos.items():
        assert store.frames(video).tolist() == [3 + 5 * i for i in range(len(found.active))]
        for kind in found.masks:
            labels = store.label_map(video, kind)
            assert labels.dtype == np.int16
            assert np.array_equal(labels, label_maps(found, kind, SIZE, BORDERS))
            some = [len(labels) - 1, 0]
            assert np.array_equal(store.label_map(video, kind, some), labels[some])
    shard = TubeShard.open(str(artifact.root), "000000-00")
    assert shard is TubeShard.open(artifact.root, "000000-00")
    assert shard.videos() == ["a", "b", "c"] and shard.size("a") == SIZE
    assert shard.times("a").tolist() == [3 / 25, 8 / 25]
    assert shard.rows("b").num_rows == sum(shard.rows("b", kind).num_rows for kind in shard.kinds("b"))
    assert set(shard.rows("b", "attention")["mask"].to_pylist()) == {"attention"}
    assert shard.tubes("b")["area"].to_pylist() == store.tubes("b")["area"].to_pylist()


def test_overlapping_tubes(tmp_path):
    found = squares(2, overlapping=True)
    store = TubeStore(make_store(tmp_path / "t", {"a": found}).root)
    expected = overlapping_masks(found, "cluster", SIZE)
    masks = store.shard("a").masks("a", "cluster")
    assert list(masks) == [3, 7] and all(np.array_equal(masks[tube], expected[tube]) for tube in masks)
    assert (masks[3] & masks[7]).any()
    labels = store.label_map("a", "cluster")
    assert np.array_equal(labels == 7, masks[7]), "tube 7 is the surer one"
    assert np.array_equal(labels == 3, masks[3] & ~masks[7])


def test_a_video_without_tubes(tmp_path):
    found = squares(3)
    found.active[:] = False
    store = TubeStore(make_store(tmp_path / "t", {"a": found, "b": squares(2)}).root)
    labels = store.label_map("a", "cluster")
    assert labels.shape == (3, *SIZE) and (labels == -1).all()
    assert store.tubes("a").num_rows == store.rows("a").num_rows == 0
    assert store.tubes("b")["tube"].to_pylist() == [3, 7]


def test_only_the_current_form_of_a_video_is_read(tmp_path):
    artifact = artifact_at(tmp_path / "t")
    write_shard(artifact, "000000-00", {"a": random_segmentation(0), "b": squares()}, "000000")
    older = TubeStore(artifact.root)
    write_shard(artifact, "000001-00", {"a": random_segmentation(5, frames=4)}, "000001")
    store = TubeStore(artifact.root)
    assert store.videos() == ["a", "b"]
    assert len(store.label_map("a", "decoder")) == 4 and len(older.label_map("a", "decoder")) == 3
    rows, tubes = read_frames(artifact.root), read_tubes(artifact.root)
    assert rows.schema.equals(TUBES_SCHEMA) and tubes.schema.equals(TUBE_SCHEMA)
    assert rows.num_rows == sum(store.rows(video).num_rows for video in "ab")
    assert tubes.num_rows == sum(store.tubes(video).num_rows for video in "ab")
    assert set(rows["frame"].to_pylist()) == {3, 8, 13, 18}, "the fourth frame is in the new version only"


def test_a_shard_committed_anew_is_read_anew(tmp_path):
    artifact = make_store(tmp_path / "t", {"a": squares(2)})
    assert len(TubeShard.open(artifact.root, "000000-00").frames("a")) == 2
    writer = TubesWriter(artifact.root / "shards" / ".x.tmp", "000000-00")
    add_video(writer, "a", squares(5))
    writer.keep("a")
    commit(artifact, "000000-00", writer.finish(), [Done("a")], replace=True)
    os.utime(artifact.manifest("000000-00"), ns=(1, 1))
    assert len(TubeShard.open(artifact.root, "000000-00").frames("a")) == 5


def test_an_artifact_without_shards(tmp_path):
    artifact = artifact_at(tmp_path / "t")
    store = TubeStore(artifact.root)
    assert store.videos() == [] and store.kinds() == ()
    assert read_frames(artifact.root).num_rows == read_tubes(artifact.root).num_rows == 0


def test_mistakes_and_damage_say_what_is_wrong(tmp_path):
    artifact = make_store(tmp_path / "t", {"a": squares(), "b": squares()})
    store = TubeStore(artifact.root)
    with pytest.raises(KeyError, match="no video 'x' among the 2"):
        store.frames("x")
    with pytest.raises(KeyError, match="video a has no decoder masks; there are cluster"):
        store.label_map("a", "decoder")
    with pytest.raises(FileNotFoundError, match="holds no stage.json"):
        TubeStore(tmp_path)
    path = artifact.shard("000000-00")
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(DamagedError, match="--verify --repair"):
        store.label_map("a", "cluster")
    fewer = TubesWriter(path, "000000-00")
    add_video(fewer, "b", squares(1))
    fewer.keep("b")
    fewer.finish()
    with pytest.raises(DamagedError, match="does not hold the 4 rows of video a"):
        store.label_map("a", "cluster")
    path.unlink()
    with pytest.raises(FileNotFoundError):
        store.label_map("a", "cluster")


def test_columns_that_are_asked_for_and_all_videos_shard_by_shard(named):
    store = TubeStore(named)
    everything = [store.rows(video, "named", ["tube", "label"]) for video in store.videos()]
    assert everything[0].column_names == ["video", "mask", "tube", "label"]
    whole = pa.concat_tables(everything)
    assert whole.equals(read_frames(named, "named").select(whole.column_names))
    parts = list(store.parts("named", ["tube", "label"]))
    assert pa.concat_tables(parts).sort_by("video").equals(whole.sort_by("video"))
    assert TubeStore(named).rows(store.videos()[0], None, ["rle"]).column_names == ["video", "mask", "rle"]
    few = tubes_of(store.rows(store.videos()[0], "named", ["tube", "frame", "area", "score", "label"]))
    assert few.equals(store.tubes(store.videos()[0], "named").select(few.column_names))
