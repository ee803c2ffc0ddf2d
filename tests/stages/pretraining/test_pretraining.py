"""Pre-training on real mp4 files: it learns, passes over damage, goes on exactly, makes a backbone."""

import json
import os
import subprocess
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from stages.errors import SettingsError
from stages.features.backbone_spec import BackboneSpec
from stages.features.backbones.base import build
from stages.learning.checkpoint import checkpoints
from stages.pretraining.masked_video import tube_mask
from stages.pretraining.pretraining import Pretraining, videos_of
from tests.faults.gates import held_before
from tests.faults.processes import wait_until
from tests.outside import PROJECT
from tests.stages.pretraining.making import SMALL, catalogued, context_for, corpus_in, lasting

STEPS = 30


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return corpus_in(tmp_path_factory.mktemp("pretraining"))


def trained(corpus, folder, steps, **context):
    folder.mkdir()
    lasting(steps).make([], folder, context_for(corpus, **context))
    return load_file(folder / "videomae.safetensors")


@pytest.fixture(scope="module")
def undisturbed(corpus):
    """Folder and weights of one training without an interruption."""
    return corpus / "whole", trained(corpus, corpus / "whole", STEPS, decoders=2)


def test_the_loss_falls_on_fixed_clips(undisturbed):
    clips = torch.randn(4, 3, 4, 32, 32, generator=torch.Generator().manual_seed(0)).cumsum(3).cumsum(4) / 16
    mask = tube_mask(4, 4, 16, 0.75, torch.Generator().manual_seed(1))
    torch.manual_seed(0)  # as in the training
    model, losses = Pretraining(SMALL), []
    for weights in (model.state_dict(), undisturbed[1]):
        model.load_state_dict(weights)
        with torch.no_grad():
            losses.append(float(model.loss(clips, mask)))
    assert losses[1] < 0.9 * losses[0]


def test_what_is_damaged_is_passed_over_and_told(undisturbed):
    folder, _ = undisturbed
    (row,) = pq.read_table(folder / "rejects.parquet").to_pylist()
    assert row["video"] == "v4@mp4" and row["error_class"] == "decode_error" and "v4.mp4" in row["message"]
    content = json.loads((folder / "videomae.json").read_text())
    assert content["clips_passed_over"] == {"decode_error": row["clips"]} and row["clips"] > 1
    assert (content["videos"], content["videos_rejected"]) == (5, 1)
    assert lasting(STEPS).told(folder) == (
        f"trained on clips of 5 videos; some of 1 could not be decoded ({row['clips']} decode_error), see "
        "rejects.parquet"
    )
    names = set(pq.read_table(folder / "history.parquet")["name"].to_pylist())
    assert {"loss", "rate", "waiting for data"} <= names


def test_a_killed_training_goes_on_exactly(corpus, undisturbed, tmp_path):
    arguments = json.dumps([str(corpus), str(tmp_path / "c"), str(tmp_path / "first"), STEPS])
    command = [sys.executable, "-m", "tests.stages.pretraining.making", arguments]
    with held_before(3, tmp_path) as (gate, env):
        environment = {**os.environ, "OMP_NUM_THREADS": "1", **env}
        child = subprocess.Popen(command, cwd=PROJECT, env=environment)
        try:
            wait_until(lambda: gate.reached or child.poll() is not None, "step 2")
        finally:
            child.kill()
            child.wait()
    assert [path.name for path in checkpoints(tmp_path / "c" / "videomae")] == [
        "step-00000001",
        "step-00000002",
    ]
    weights = trained(corpus, tmp_path / "second", STEPS, checkpoints=tmp_path / "c")
    assert weights.keys() == undisturbed[1].keys()
    assert all(torch.equal(weights[name], undisturbed[1][name]) for name in weights)
    rejects = [pq.read_table(f / "rejects.parquet") for f in (undisturbed[0], tmp_path / "second")]
    assert rejects[0].equals(rejects[1])


def test_the_weights_are_a_backbone(undisturbed):
    folder, weights = undisturbed
    frames = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), np.uint8)
    backbone = build(BackboneSpec("videomae_vitt8", str(folder)))
    own = backbone.encoder.state_dict()
    assert all(torch.equal(own[f"model.{n.removeprefix('encoder.')}"], weights[n])
               for n in weights if n.startswith("encoder.blocks"))  # fmt: skip
    assert backbone.extract(frames)["tokens"].shape == (8, 16, 192)


def test_videos_that_are_none(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "a.mp4").write_bytes(b"")
    catalogued(tmp_path / "catalog", tmp_path / "empty")
    with pytest.raises(SettingsError, match="no video is there to train on"):
        videos_of(tmp_path / "catalog")
