import hashlib

import numpy as np
import pytest
import timm
import torch
from PIL import Image

from stages.errors import SettingsError
from stages.features.backbone_spec import BackboneSpec
from stages.features.backbones.base import build
from stages.features.backbones.cnn import CnnEncoder
from stages.features.backbones.weights import read_file
from tests.outside import listed, outside

WEIGHTS = listed("weights", pattern="*.safetensors")


@torch.inference_mode()
@pytest.mark.parametrize("name", ["resnet10t", "convnext_atto", "mobilenetv3_small_050"])
def test_maps_are_those_of_the_whole_model(name):
    model = timm.create_model(name, pretrained=False, num_classes=0).eval()
    image = torch.rand(1, 3, 64, 96)
    for stage in (-1, 1):
        encoder = CnnEncoder(name, model, stage).eval()
        expected = model.forward_intermediates(image, indices=[stage], intermediates_only=True)[0]
        tokens = encoder(image)["tokens"]
        rows, columns = encoder.grid(64, 96)
        assert tokens.shape == (1, rows * columns, encoder.width)
        assert torch.allclose(tokens, expected.flatten(2).transpose(1, 2), atol=1e-5)


def test_a_finer_map_by_dilation():
    model = timm.create_model("resnet10t", pretrained=False, num_classes=0)
    assert CnnEncoder("resnet10t", model).grid(64, 96) == (2, 3)
    assert CnnEncoder("resnet10t", model, stride=8).grid(64, 96) == (8, 12)


def test_what_a_model_can_not_give():
    model = timm.create_model("resnet10t", pretrained=False, num_classes=0)
    with pytest.raises(SettingsError, match="stage=9"):
        CnnEncoder("resnet10t", model, stage=9)
    with pytest.raises(SettingsError, match="stride=7"):
        CnnEncoder("resnet10t", model, stride=7)
    with pytest.raises(SettingsError, match="70x64 pixels: resnet10t needs multiples of 32"):
        CnnEncoder("resnet10t", model).grid(70, 64)


def real_frames():
    folder = outside("data", "davis2016_mini", "JPEGImages", "480p")
    paths = sorted(next(p for p in sorted(folder.iterdir()) if p.is_dir()).glob("*.jpg"))[:2]
    return np.stack([np.asarray(Image.open(path).convert("RGB").resize((192, 128))) for path in paths])


@pytest.mark.skipif(not WEIGHTS, reason="needs outside data: weights/*.safetensors")
@pytest.mark.parametrize("path", WEIGHTS, ids=lambda path: path.stem)
def test_real_weights_on_real_frames(path):
    """A file's name is timm's name of its model. Loading is strict; the features are the trained ones."""
    frames = real_frames()
    spec = BackboneSpec(name=path.stem, weights=str(path), stride=16)
    backbone = build(spec)
    assert backbone.weights_digest == hashlib.sha256(path.read_bytes()).hexdigest()
    found = backbone.extract(frames)["tokens"]
    assert found.shape[:2] == (2, 8 * 12) and found.dtype == np.float16

    maps = timm.create_model(path.stem, features_only=True, output_stride=16).eval()
    state = read_file(path)
    maps.load_state_dict({k: v for k, v in state.items() if k in maps.state_dict()}, strict=True)
    mean, std = (torch.tensor(maps.pretrained_cfg[k]).view(1, 3, 1, 1) for k in ("mean", "std"))
    with torch.inference_mode():
        expected = maps((torch.from_numpy(frames).permute(0, 3, 1, 2) / 255 - mean) / std)[-1]
    assert np.allclose(found, expected.flatten(2).transpose(1, 2), rtol=2e-3, atol=2e-3)

    drawn = build(BackboneSpec(name=path.stem, weights="random", stride=16)).extract(frames)["tokens"]
    assert not np.allclose(found, drawn, rtol=0.1, atol=0.1)


@pytest.mark.skipif(not WEIGHTS, reason="needs outside data: weights/*.safetensors")
def test_weights_of_another_model():
    path = next(p for p in WEIGHTS if p.stem != "resnet10t")
    with pytest.raises(SettingsError, match=f"{path.name} does not fit the model .*missing.*unexpected"):
        build(BackboneSpec(name="resnet10t", weights=str(path)))
