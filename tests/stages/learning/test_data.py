"""Batches of cached clips: what is in them, in which order, and how the reading thread ends."""

from __future__ import annotations

import threading
import time
from collections import Counter

import numpy as np
import pytest
import torch

from stages.artifacts.manifest import DamagedError
from stages.discovery.contract import FeatureShape
from stages.errors import SettingsError
from stages.features.store.reader import FeatureStore
from stages.features.store.samplers import ClipSampler, Windows
from stages.learning import data
from stages.learning.data import ClipLoader, feature_shape
from tests.faults.processes import wait_until
from tests.stages.discovery.making import features_in
from tests.stages.features.store.making import features, make_store, source_frames
from tests.stages.learning.making import SHAPE, store_in

PATTERN = Windows(3, centred=True)
TOKENS = (("base", "tokens"),)


def loader(store, batch=4, seen=0, streams=TOKENS, **more):
    return ClipLoader(store, ClipSampler(store, PATTERN, seed=1), streams, SHAPE, batch, seen, **more)


def drawn(loader, batches):
    try:
        return [loader.next() for _ in range(batches)]
    finally:
        loader.close()


def same(first, second):
    return (
        first.videos == second.videos
        and torch.equal(first.available, second.available)
        and torch.equal(first.tokens, second.tokens)
    )


def test_a_batch_holds_the_stored_features_and_zeros_outside_of_the_video(tmp_path):
    store = store_in(tmp_path, videos=2, frames=4)
    clips = list(ClipSampler(store, PATTERN, seed=1))
    (batch,) = drawn(loader(store, batch=8), 1)
    assert batch.tokens.shape == (8, 3, 6, 8) and batch.tokens.dtype == torch.float32
    assert batch.shape == SHAPE and batch.videos == tuple(clip.video for clip in clips)
    frames = source_frames(4)
    for row, clip in enumerate(clips):
        for column, position in enumerate(clip.positions):
            found, there = batch.tokens[row, column].numpy(), 0 <= position < 4
            assert batch.available[row, column] == there
            expected = features(clip.video, frames[position], "tokens", (6, 8)) if there else np.zeros((6, 8))
            np.testing.assert_array_equal(found, expected.astype(np.float32))


def test_every_view_and_facet_that_was_asked_for_is_there(tmp_path):
    shapes = {"tokens": (6, 8), "keys": (6, 4)}
    make_store(tmp_path / "features", [{"a": 3}], shapes, views=("base", "flip"))
    streams = (("base", "tokens"), ("flip", "keys"))
    (batch,) = drawn(loader(FeatureStore(tmp_path / "features"), 3, streams=streams), 1)
    assert {key: tuple(value.shape) for key, value in batch.features.items()} == {
        ("base", "tokens"): (3, 3, 6, 8),
        ("flip", "keys"): (3, 3, 6, 4),
    }
    video = batch.videos[0]
    centre = batch.features["flip", "keys"][0, 1].numpy()
    stored = [features(video, frame, "keys", (6, 4), "flip") for frame in source_frames(3)]
    assert any(np.array_equal(centre, frame.astype(np.float32)) for frame in stored)


def test_it_goes_on_where_it_was_across_epochs(tmp_path):
    """Ten clips an epoch in batches of four: the third batch belongs to two epochs."""
    store = store_in(tmp_path, videos=2, frames=5)
    whole = drawn(loader(store), 8)
    for seen in (1, 2, 3, 5):
        rest = drawn(loader(store, seen=4 * seen), 8 - seen)
        assert all(same(a, b) for a, b in zip(whole[seen:], rest, strict=True))
    order = [
        clip
        for batch in whole
        for clip in zip(batch.videos, batch.tokens.sum((1, 2, 3)).tolist(), strict=True)
    ]
    assert sorted(order[:10]) == sorted(order[10:20]), "an epoch has every clip once"
    assert order[:10] != order[10:20], "in an order of its own"


@pytest.mark.parametrize("world", [2, 4])
def test_processes_share_the_batches_of_one(tmp_path, world):
    store = store_in(tmp_path, videos=2, frames=5)
    whole = drawn(loader(store), 6)
    parts = [drawn(loader(store, rank=rank, world=world), 6) for rank in range(world)]
    for number, batch in enumerate(whole):
        mine = [part[number] for part in parts]
        assert all(len(part.videos) == 4 // world for part in mine)
        for rank, part in enumerate(mine):
            assert part.videos == batch.videos[rank::world]
            assert torch.equal(part.tokens, batch.tokens[rank::world])


@pytest.mark.parametrize("world", [1, 2])
def test_batches_have_the_grid_of_their_videos(tmp_path, world):
    grids = {"v0": (2, 3), "v1": (2, 3), "v2": (4, 1)}
    store = FeatureStore(features_in(tmp_path / "features", grids))
    whole = drawn(loader(store, grids=grids), 10)  # five an epoch: three of the one grid, two of the other
    parts = [drawn(loader(store, rank=rank, world=world, grids=grids), 10) for rank in range(world)]
    assert Counter(batch.shape for batch in whole) == {FeatureShape(2, 3, 8): 6, FeatureShape(4, 1, 8): 4}
    for number, batch in enumerate(whole):
        assert {grids[video] for video in batch.videos} == {(batch.shape.rows, batch.shape.columns)}
        assert batch.tokens.shape == (4, 3, batch.shape.tokens, 8)
        for rank, part in enumerate(parts):
            assert part[number].shape == batch.shape and part[number].videos == batch.videos[rank::world]
            assert torch.equal(part[number].tokens, batch.tokens[rank::world])
    rest = drawn(loader(store, seen=4 * 7, grids=grids), 3)
    assert all(same(a, b) and a.shape == b.shape for a, b in zip(whole[7:], rest, strict=True))


def test_one_grid_changes_nothing(tmp_path):
    store = store_in(tmp_path, videos=2, frames=5)
    grids = {"v0": (2, 3), "v1": (2, 3), "another": (3, 2)}
    told = drawn(loader(store, seen=8, grids=grids), 6)
    plain = drawn(loader(store, seen=8), 6)
    assert all(same(a, b) and a.shape == b.shape for a, b in zip(told, plain, strict=True))


def test_it_reads_ahead_and_counts_the_time_that_it_was_waited_for(tmp_path, monkeypatch):
    loaded, free = [], threading.Event()

    def slow(*_):
        time.sleep(0.05 if not loaded else 0)
        loaded.append(1)
        if len(loaded) > 4:
            free.wait()
        return torch.zeros(3, 6, 8, dtype=torch.float16), None

    monkeypatch.setattr("stages.learning.data.load", slow)
    busy = loader(store_in(tmp_path), batch=1)
    try:
        busy.next()
        assert busy.waited >= 0.04
        wait_until(lambda: len(loaded) > 4, "batches that nobody has asked for")
        busy.next(), busy.next(), busy.next()
    finally:
        free.set()
        busy.close()


def test_one_of_several_views_is_read_by_lot(tmp_path):
    make_store(tmp_path / "features", [{f"v{i}": 3 for i in range(12)}], views=("a", "b"))
    store = FeatureStore(tmp_path / "features")
    sampler = ClipSampler(store, Windows(1), seed=1)
    views = {}
    for epoch in (0, 1):
        sampler.epoch = epoch
        for clip in sampler:
            view = data.drawn("a|b", clip)
            assert views.setdefault((epoch, clip.video), view) == view, "one for all clips of a video"
    assert {view for (epoch, _), view in views.items() if epoch == 0} == {"a", "b"}
    assert any(views[0, video] != views[1, video] for video in store.videos), "another in the next epoch"
    batches = ClipLoader(store, ClipSampler(store, Windows(1), seed=1), [("a|b", "tokens")], SHAPE, 36)
    found = batches.next().features["a|b", "tokens"]
    batches.close()
    clips = list(ClipSampler(store, Windows(1), seed=1))
    expected = [store.clip(c.video, c.positions, "tokens", views[0, c.video]) for c in clips]
    assert torch.equal(found, torch.stack(expected).float())


def test_its_thread_ends_with_it(tmp_path):
    before = threading.active_count()
    drawn(loader(store_in(tmp_path)), 1)
    assert threading.active_count() == before


def test_altered_features_are_named_with_the_remedy(tmp_path):
    store_in(tmp_path, videos=1, frames=4)
    path = tmp_path / "features" / "shards" / "features-000000.tar"
    data = bytearray(path.read_bytes())
    start = data.index(features("v0", source_frames(4)[1], "tokens", (6, 8)).tobytes())
    data[start] ^= 1
    path.write_bytes(data)
    with pytest.raises(DamagedError, match=r"features-000000.tar is damaged, video v0.*--repair"):
        drawn(loader(FeatureStore(tmp_path / "features", verify=True)), 1)


def test_the_shape_is_that_of_all_videos(tmp_path):
    store = store_in(tmp_path, videos=3)
    grids = {"v0": (2, 3), "v1": (2, 3), "v2": (3, 2)}
    assert feature_shape(store, ["v0", "v1"], grids, "tokens") == FeatureShape(2, 3, 8)
    with pytest.raises(
        SettingsError, match=r"videos v0 and v2 .*2 x 3 x 8 and 3 x 2 x 8.*decode.size=\[h,w\]"
    ):
        feature_shape(store, ["v0", "v1", "v2"], grids, "tokens")
    assert feature_shape(store, ["v2", "v0"], grids, "tokens", any_grid=True) == FeatureShape(3, 2, 8)
    with pytest.raises(SettingsError, match="no video is left to train on"):
        feature_shape(store, [], grids, "tokens")
