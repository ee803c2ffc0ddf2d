"""One shard without an index gives what the whole store gives."""

import numpy as np
import pytest

from stages.artifacts.manifest import DamagedError
from stages.features.store.locate import FOLDER
from stages.features.store.reader import CorruptShardError, FeatureStore
from stages.features.store.shard_features import ShardFeatures
from tests.stages.features.store.making import features, make_store, source_frames

SHAPES = {"tokens": (6, 8), "cls": (8,)}
VIDEOS = {"b": 5, "a": 3}


@pytest.fixture
def artifact(tmp_path):
    return make_store(tmp_path / "f", [{"z": 2}, VIDEOS], SHAPES, ("base", "flip"))


def test_everything_is_read_without_an_index(artifact):
    shard = ShardFeatures(artifact, "000001", verify=True)
    assert shard.videos() == ["b", "a"]
    for video, count in VIDEOS.items():
        index, pts = shard.frames(video)
        assert index.dtype == np.int64 and index.tolist() == source_frames(count)
        assert pts.tolist() == [frame / 25 for frame in source_frames(count)]
        for view in ("base", "flip"):
            for facet, shape in SHAPES.items():
                assert shard.shape(video, facet, view) == (count, *shape)
                expected = [features(video, frame, facet, shape, view) for frame in source_frames(count)]
                found = shard.array(video, facet=facet, view=view)
                assert found.dtype == np.float16 and np.array_equal(found, expected)
                assert np.array_equal(shard.array(video, 1, 3, facet, view), expected[1:3])
    assert not (artifact.root / FOLDER).exists()


def test_parts_of_a_video(artifact):
    shard = ShardFeatures(artifact, "000001")
    assert np.array_equal(shard.array("b", 2), shard.array("b")[2:])
    assert shard.array("b", 2, 2).shape == (0, 6, 8)
    before = shard.gauge.read
    shard.array("b", 1, 2)
    assert shard.gauge.read - before == 6 * 8 * 2
    for start, stop in ((-1, 2), (0, 6)):
        with pytest.raises(IndexError, match="video b has 5 frames"):
            shard.array("b", start, stop)


def test_int8_is_decoded_as_the_store_does(tmp_path):
    artifact = make_store(tmp_path / "f", [VIDEOS], SHAPES, encoding="int8")
    shard, store = ShardFeatures(artifact, "000000"), FeatureStore(artifact.root)
    for facet in SHAPES:
        assert np.array_equal(shard.array("b", facet=facet), store.array("b", facet=facet))


def test_a_shard_without_videos(tmp_path):
    assert ShardFeatures(make_store(tmp_path / "f", [{}]), "000000").videos() == []


def test_what_is_not_there(artifact):
    shard = ShardFeatures(artifact, "000001")
    with pytest.raises(KeyError, match="no video 'z' among the 2"):
        shard.array("z")
    with pytest.raises(KeyError, match="no facet 'keys' of view 'base'; stored: base/tokens"):
        shard.array("a", facet="keys")
    with pytest.raises(FileNotFoundError):
        ShardFeatures(artifact, "000002")


def test_damage(artifact):
    path = artifact.shard("000001")
    data = bytearray(path.read_bytes())
    shard = ShardFeatures(artifact, "000001", verify=True)
    row = next(r for r in shard._rows.to_pylist() if r["video"] == "a" and r["facet"] == "tokens")
    data[row["offset"] + row["size"] - 1] ^= 1
    path.write_bytes(data)
    shard.array("b")
    with pytest.raises(CorruptShardError, match=r"features-000001.tar is damaged, video a.*--repair"):
        shard.array("a")
    path.write_bytes(data[: len(data) // 4])
    with pytest.raises(CorruptShardError, match="the file ends"):
        shard.array("a")
    shard.close()
    path.unlink()
    with pytest.raises(FileNotFoundError):
        shard.array("a")
    manifest = artifact.manifest("000001")
    manifest.write_bytes(manifest.read_bytes()[:-20])
    with pytest.raises(DamagedError):
        ShardFeatures(artifact, "000001")
