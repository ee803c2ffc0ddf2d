"""Features of one video as methods read them, from a real shard."""

import numpy as np
import pytest
import torch

from stages.artifacts.manifest import DamagedError
from stages.discovery.contract import FeatureShape
from stages.discovery.video import CachedVideo, frame_layout, shard_features
from tests.stages.discovery.making import features_in
from tests.stages.features.store.making import features, source_frames


@pytest.fixture
def shard(tmp_path):
    return shard_features(str(features_in(tmp_path / "features")), "000000")


def test_what_is_stored_is_read(shard):
    video = CachedVideo(shard, "v1", (2, 3))
    assert (video.video, video.frames, video.shape) == ("v1", 5, FeatureShape(2, 3, 8))
    expected = np.stack([features("v1", frame, "tokens", (6, 8)) for frame in source_frames(5)])
    found = video.read()
    assert found.dtype == torch.float32 and np.array_equal(found.numpy(), expected.astype(np.float32))
    assert torch.equal(video.read(1, 3), found[1:3]) and torch.equal(video.read(4), found[4:])


def test_a_grid_of_other_tokens_is_refused(shard):
    with pytest.raises(ValueError, match="video v1 has 6 patch tokens on a grid of 2 x 4"):
        CachedVideo(shard, "v1", (2, 4))


def test_what_is_not_there_is_named(shard):
    with pytest.raises(KeyError, match="no video 'x'"):
        CachedVideo(shard, "x", (2, 3))
    with pytest.raises(KeyError, match="video v1 has no facet 'keys'"):
        CachedVideo(shard, "v1", (2, 3)).read(facet="keys")
    with pytest.raises(IndexError, match="v1"):
        CachedVideo(shard, "v1", (2, 3)).read(3, 6)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_no_numbers_name_the_video(tmp_path, value):
    """Altered in the shard after its commit: the checksum would tell, but is not looked at when reading."""
    folder = features_in(tmp_path / "features")
    path = folder / "shards" / "features-000000.tar"
    data = features("v2", source_frames(5)[3], "tokens", (6, 8)).tobytes()
    content = path.read_bytes()
    assert content.count(data) == 1
    spoilt = np.frombuffer(data, np.float16).copy()
    spoilt[5] = value
    path.write_bytes(content.replace(data, spoilt.tobytes()))
    video = CachedVideo(shard_features(str(folder), "000000"), "v2", (2, 3))
    assert video.read(0, 3).isfinite().all()
    with pytest.raises(DamagedError, match=r"video v2 \(base/tokens\).*--verify --repair"):
        video.read()


def test_an_open_shard_is_shared(tmp_path):
    folder = str(features_in(tmp_path / "features"))
    assert shard_features(folder, "000000") is shard_features(folder, "000000")
    with pytest.raises(FileNotFoundError):
        shard_features(folder, "000009")


def test_layout_of_frames():
    assert frame_layout({"native": [24, 40], "borders": [1, 2, 0, 3]}) == ((24, 40), (1, 2, 0, 3))
