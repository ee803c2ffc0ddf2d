"""The video transformer behind the backbone protocol: runs of frames, the last one filled up."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from stages.errors import SettingsError
from stages.features.backbone_spec import BackboneSpec, weights_file
from stages.features.backbones.base import build, frames_of
from stages.features.backbones.table import KNOWN
from stages.features.backbones.torch_backbone import STATISTICS
from stages.features.backbones.video_sizes import VideoVitSizes, sizes_of
from stages.features.backbones.video_vit import VideoVit

TINY = BackboneSpec(name="videomae_vitt8", weights="random", seed=3)


@pytest.fixture(scope="module")
def frames():
    return np.random.default_rng(0).integers(0, 256, (19, 16, 24, 3), np.uint8)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(3)
    return VideoVit(VideoVitSizes(192, 12, 3, 8)).eval()


@torch.inference_mode()
def alone(model, clip):
    """Tokens (8, N, D) of one clip, by the model itself."""
    mean, std = (torch.tensor(values).view(3, 1, 1, 1) for values in STATISTICS["imagenet"])
    video = torch.from_numpy(clip).permute(3, 0, 1, 2).float() / 255
    return model(((video - mean) / std)[None])[0].unflatten(0, (8, -1)).half().numpy()


def test_every_run_is_a_clip_and_the_last_one_is_filled_up(frames, model):
    backbone = build(TINY)
    found = backbone.extract(frames)["tokens"]
    assert found.shape == (19, 6, 192) and frames_of(backbone) == 8
    filled = np.concatenate([frames, frames[-1:].repeat(5, 0)])
    for start in (0, 8, 16):
        expected = alone(model, filled[start : start + 8])[: 19 - start]
        np.testing.assert_allclose(found[start : start + 8], expected, rtol=2**-9, atol=2e-4)
    assert np.abs(backbone.extract(frames[1:9])["tokens"][:7] - found[1:8]).max() > 0.01  # the clip matters


def test_sizes_of_the_table():
    assert sizes_of(KNOWN["videomae_vitb16"]) == VideoVitSizes()
    assert {model.frames for model in KNOWN.values() if model.family == "video"} == {8}
    assert frames_of(build(BackboneSpec())) == 1


def test_weights_of_a_folder_and_of_a_file(tmp_path, frames, model):
    artifact = tmp_path / "videomae-1a2b3c4d"
    (artifact / "abc").mkdir(parents=True)
    file = artifact / "abc" / "videomae.safetensors"
    save_file({f"encoder.{k}": v for k, v in model.state_dict().items()}, file)
    with pytest.raises(SettingsError, match="a folder with 0 weights files"):
        weights_file(str(artifact))
    (artifact / "_SUCCESS.json").write_text(json.dumps({"files": "abc", "inputs": ""}))
    by_folder, by_file = (BackboneSpec(name=TINY.name, weights=str(path)) for path in (artifact, file))
    assert (
        by_folder.weights_identity()
        == by_file.weights_identity()
        == f"sha256:{build(by_file).weights_digest}"
    )
    tokens = [build(spec).extract(frames[:8])["tokens"] for spec in (by_folder, TINY)]
    assert np.array_equal(*tokens)
    with pytest.raises(SettingsError, match="does not fit the model"):
        build(BackboneSpec(name="videomae_vitt16", weights=str(artifact)))


def test_what_can_not_be():
    with pytest.raises(SettingsError, match="no released weights.*pretrain_videomae"):
        BackboneSpec(name=TINY.name).weights_identity()
    with pytest.raises(SettingsError, match=r"backbone.batch=12: videomae_vitt8 encodes 8 frames together"):
        BackboneSpec(name=TINY.name, weights="random", batch=12)
    with pytest.raises(SettingsError, match="has no facet keys: choose among tokens, pixels"):
        BackboneSpec(name=TINY.name, weights="random", facets=("keys",))
