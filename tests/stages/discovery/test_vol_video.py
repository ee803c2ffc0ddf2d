"""VOL trained on a backbone that encodes clips: from the bank, and online."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from stages.discovery.contract import FeatureShape
from stages.discovery.train_stage import TrainStage
from stages.discovery.vol import VolMethod
from stages.features.backbones.online import clip_encoder
from stages.features.store.reader import FeatureStore
from stages.features.store.samplers import ClipSampler
from stages.learning.data import ClipLoader
from stages.learning.spec import TrainSpec
from stages.stage import WorkContext
from tests.stages.features.test_bank import STAGE, make_bank

SHAPE = FeatureShape(2, 3, 192)
SMALL = {"slots": 3, "slot_width": 8, "hidden": 8, "decoder": (8,), "warmup": 0, "position_grid": 3}


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    return make_bank(tmp_path_factory.mktemp("vol"))[1].root


@pytest.mark.parametrize("clips_from", ["bank", "online"])
def test_a_training_reads_whole_clips(features, tmp_path, clips_from):
    method = VolMethod(clips_from=clips_from, clips_per_video=2, **SMALL)
    stage = TrainStage(method, TrainSpec(steps=3, batch=2), STAGE.backbone)
    context = WorkContext("", tmp_path, inputs={"features": str(features)})
    stage.make([Path(features)], tmp_path, context)
    history = pq.read_table(tmp_path / "history.parquet").to_pylist()
    losses = [row["value"] for row in history if row["name"] == "loss"]
    assert len(losses) == 3 and all(0 < loss < 1e3 for loss in losses)


def test_online_clips_are_what_a_bank_of_the_same_frames_holds(features):
    """The encoder on the stored pixels of a run gives the run's features; of other frames, other ones."""
    store, encode = FeatureStore(features), clip_encoder(STAGE.backbone, grid=(2, 3))
    run, other = (store.clip("a", range(at, at + 8), "pixels")[None] for at in (8, 9))
    stored = store.clip("a", range(8, 16)).float()
    assert torch.allclose(encode(run)[0], stored, rtol=2**-9, atol=2e-4)
    assert (encode(other)[0, :7] - stored[1:]).abs().max() > 0.01


def test_batches_of_a_bank_are_its_clips(features):
    method = VolMethod(clips_from="bank", clips_per_video=2, **SMALL)
    store = FeatureStore(features)
    sampler = ClipSampler(store, method.clips("vol"), view="bank")
    loader = ClipLoader(store, sampler, method.streams, SHAPE, 2)
    try:
        batch = loader.next()
    finally:
        loader.close()
    (tokens,) = batch.features.values()
    assert len(set(batch.videos)) == 1 and batch.available.all()
    clips = store.clip(batch.videos[0], view="bank").float().unflatten(0, (-1, 8))
    assert all(any(torch.equal(clip, banked) for banked in clips) for clip in tokens)
