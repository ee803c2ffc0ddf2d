"""Examples of TFRecord files, decoded in a child like any other video."""

import numpy as np
import pytest

from stages.decode.names import file_of, shown_name, split_record
from stages.decode.spec import Geometry
from stages.outcome import MediaError
from stages.stage import MemoryAttempts
from tests import tfrecords
from tests.stages.decode.media import collect, request


@pytest.fixture
def clips(tmp_path):
    """The path of each example, its frames, and the file that holds them."""
    path = tfrecords.shard_path(tmp_path, "test", 0, 1)
    made = [tfrecords.clip(seed)[0] for seed in range(2)]
    starts = tfrecords.write_shard(path, [tfrecords.movi_example(*tfrecords.clip(seed)) for seed in range(2)])
    return [f"{path}#{at}" for at in starts], made, path


def test_names():
    path = "/x/movi_e-train.tfrecord-00007-of-01024#1234"
    assert split_record(path) == (path[:-5], 1234) and file_of(path) == path[:-5]
    for other in (
        "/x/a.mp4",
        "/x/a#1.mp4",
        path[:-5],
        "/x/a.tfrecord-1-of-2#3",
        "/x/a.tfrecord-00000-of-00001#b",
    ):
        assert split_record(other) is None and file_of(other) == other
    assert shown_name(path) == "movi_e-train.tfrecord-00007-of-01024#1234"


def test_frames_are_those_that_were_written(client, clips):
    paths, made, _ = clips
    for path, rgb in zip(paths, made, strict=True):
        index, seconds, found, info = collect(client, request(path, geometry=Geometry(None)))
        np.testing.assert_array_equal(found, rgb)
        assert index.tolist() == list(range(24)) and info["decoder"] == "tfrecord"
        assert np.isfinite(seconds).sum() in (0, 24)


def test_a_clock_and_a_stride(client, clips):
    paths, made, _ = clips
    index, seconds, found, _ = collect(
        client, request(paths[1], stride=10, clock=12.0, geometry=Geometry(None))
    )
    assert index.tolist() == [0, 10, 20]
    np.testing.assert_allclose(seconds, index / 12)
    np.testing.assert_array_equal(found, made[1][::10])


def test_a_segment(client, clips):
    paths, made, _ = clips
    index, _, found, _ = collect(client, request(paths[0], start=20, frames=10, geometry=Geometry(None)))
    assert index.tolist() == [20, 21, 22, 23]
    np.testing.assert_array_equal(found, made[0][20:])


def test_probe(client, clips):
    probe = client.probe("key", clips[0][1], MemoryAttempts())
    assert (probe.frames, probe.height, probe.width, probe.rotation, probe.fps) == (24, 32, 48, 0, None)


def test_jpegs(client, tmp_path):
    path = tfrecords.shard_path(tmp_path, "train", 0, 1)
    rgb, ids = tfrecords.clip(3, frames=2)
    tfrecords.write_shard(path, [tfrecords.movi_example(rgb, ids, "JPEG")])
    _, _, found, _ = collect(client, request(f"{path}#0", geometry=Geometry(None)))
    assert found.shape == rgb.shape and np.abs(found.astype(int) - rgb).mean() < 8


@pytest.mark.parametrize(
    ("at", "value", "error_class"),
    [(0, None, "unreadable"), (60, None, "unreadable"), (None, -5, "truncated")],
    ids=["length", "data", "cut"],
)
def test_damage_is_rejected_and_the_next_example_is_not(client, clips, at, value, error_class):
    paths, made, file = clips
    data = bytearray(file.read_bytes())
    if at is None:
        data = data[:value]
        paths, made = paths[::-1], made[::-1]
    else:
        data[at] ^= 8
    file.write_bytes(data)
    with pytest.raises(MediaError) as caught:
        collect(client, request(paths[0]))
    assert caught.value.error_class == error_class and caught.value.message.startswith(shown_name(paths[0]))
    _, _, found, _ = collect(client, request(paths[1], geometry=Geometry(None)))
    np.testing.assert_array_equal(found, made[1])
