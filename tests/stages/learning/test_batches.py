"""Batches of one grid: nothing is left out, the rest is filled up, and any of them can be the first."""

from __future__ import annotations

from itertools import chain, cycle, islice

import pytest

from stages.features.store.reader import FeatureStore
from stages.features.store.samplers import ClipSampler, Windows
from stages.learning.batches import BatchOrder
from tests.stages.discovery.making import features_in

GRIDS = {"v0": (2, 3), "v1": (3, 2), "v2": (2, 3), "v3": (1, 4), "v4": (2, 3)}
"""Of five clips each."""


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return FeatureStore(features_in(tmp_path_factory.mktemp("batches") / "features", GRIDS))


def sampler(store, epoch=0):
    found = ClipSampler(store, Windows(3, centred=True), seed=1)
    found.epoch = epoch
    return found


def order(store, batch, grids=GRIDS):
    return BatchOrder(sampler(store), batch, grids)


@pytest.mark.parametrize("batch", [4, 12])
def test_an_epoch_has_every_clip_and_fills_up_with_the_first_ones(store, batch):
    made = order(store, batch)
    number = {4: 4 + 2 + 2, 12: 2 + 1 + 1}[batch]
    assert made.clips == number * batch
    epochs = list(islice(made.batches(), 2 * number))
    for epoch, batches in enumerate((epochs[:number], epochs[number:])):
        assert all(len(found) == batch for found in batches)
        for grid in set(GRIDS.values()):
            mine = [found for found in batches if GRIDS[found[0].video] == grid]
            clips = [clip for clip in sampler(store, epoch) if GRIDS[clip.video] == grid]
            expected = list(islice(cycle(clips), len(mine) * batch))
            parts = [expected[at : at + batch] for at in range(0, len(expected), batch)]
            assert len(mine) == -(-len(clips) // batch)
            assert all(mine.count(part) == parts.count(part) for part in parts)


def test_the_grids_take_turns_in_an_order_of_every_epoch(store):
    epochs = list(islice(order(store, 4).batches(), 24))
    turns = [[GRIDS[found[0].video] for found in epochs[at : at + 8]] for at in (0, 8, 16)]
    assert sorted(turns[0]) == sorted(turns[1]) == sorted(turns[2])
    assert turns[0] != turns[1] != turns[2] and turns[0] != sorted(turns[0])


def test_it_goes_on_at_any_batch(store):
    whole = list(islice(order(store, 4).batches(), 20))
    for done in range(18):
        assert list(islice(order(store, 4).batches(4 * done), 20 - done)) == whole[done:]


@pytest.mark.parametrize("grids", [None, dict.fromkeys(GRIDS, (2, 3))])
def test_on_one_grid_epochs_follow_each_other(store, grids):
    made = order(store, 4, grids)
    assert made.clips == 25
    clips = list(chain(sampler(store, 0), sampler(store, 1)))
    for seen in (0, 8, 24, 28):
        found = chain.from_iterable(islice(order(store, 4, grids).batches(seen), 5))
        assert list(found) == clips[seen : seen + 20]
