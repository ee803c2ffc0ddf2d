"""The encoder that methods run while they train, against the features that the stage stores."""

import numpy as np
import pytest
import torch

from stages.errors import SettingsError
from stages.features.backbone_spec import BackboneSpec
from stages.features.backbones.base import build
from stages.features.backbones.online import clip_encoder, kept_encoder

SPEC = BackboneSpec(name="vit_tiny_patch16_224", weights="random", facets=("cls", "pixels", "tokens"))


@pytest.fixture(scope="module")
def pixels():
    values = np.random.default_rng(0).integers(0, 256, (3, 32, 48, 3), dtype=np.uint8)
    return torch.from_numpy(values)


@pytest.fixture(scope="module")
def encode():
    return kept_encoder(SPEC, grid=(2, 3))


def test_all_patches_give_what_the_stage_stores(encode, pixels):
    stored = torch.from_numpy(build(SPEC).extract(pixels.numpy())["tokens"]).float()
    found = encode(pixels, torch.arange(6).expand(3, 6))
    assert found.dtype == torch.float32 and not found.requires_grad
    assert torch.allclose(found, stored, rtol=2**-10, atol=1e-5)


def test_some_patches_give_what_a_masked_view_stores(encode, pixels):
    kept = torch.tensor([[0, 1, 5], [2, 3, 4], [0, 2, 4]])
    stored = torch.from_numpy(build(SPEC).extract_kept(pixels.numpy(), kept.numpy())["tokens"]).float()
    found = encode(pixels, kept)
    assert torch.allclose(found, stored, rtol=2**-10, atol=1e-5)
    whole = encode(pixels, torch.arange(6).expand(3, 6)).gather(1, kept[..., None].expand(-1, -1, 192))
    assert (found - whole).abs().max() > 0.01, "the patches that are left out would have been seen"


def test_pixels_as_they_are_stored(encode, pixels):
    kept = torch.tensor([[0, 5]] * 3)
    stored = torch.from_numpy(build(SPEC).extract(pixels.numpy())["pixels"])
    assert stored.shape == (3, 32 * 48, 3)
    for values in (stored, stored.float()):
        assert torch.equal(encode(values, kept), encode(pixels, kept))
    with pytest.raises(ValueError, match="frames have 100 pixels, 2 x 3 patches of 16 x 16 have 1536"):
        encode(stored[:, :100], kept)
    with pytest.raises(ValueError, match="need the grid"):
        kept_encoder(SPEC)(stored, kept)


def test_keys(pixels):
    spec = BackboneSpec(name=SPEC.name, weights="random", facets=("keys",))
    found = kept_encoder(SPEC, facet="keys")(pixels, torch.arange(6).expand(3, 6))
    assert torch.allclose(
        found, torch.from_numpy(build(spec).extract(pixels.numpy())["keys"]).float(), rtol=2**-10, atol=1e-4
    )


def test_what_can_not_be():
    with pytest.raises(SettingsError, match="facet cls is not per patch"):
        kept_encoder(SPEC, facet="cls")
    for name in ("patchstats", "dino_resnet50", "resnet10t"):
        with pytest.raises(SettingsError, match=f"backbone {name} can't leave out patches"):
            kept_encoder(BackboneSpec(name=name, weights="random"))


def test_clips_give_what_runs_store():
    spec = BackboneSpec(name="videomae_vitt8", weights="random", facets=("tokens", "pixels"))
    frames = torch.randint(0, 256, (16, 16, 24, 3), generator=torch.Generator().manual_seed(0)).to(
        torch.uint8
    )
    stored = build(spec).extract(frames.numpy())
    found = clip_encoder(spec, grid=(2, 3))(torch.from_numpy(stored["pixels"]).unflatten(0, (2, 8)))
    assert found.dtype == torch.float32 and not found.requires_grad
    expected = torch.from_numpy(stored["tokens"]).float().unflatten(0, (2, 8))
    assert torch.allclose(found, expected, rtol=2**-9, atol=2e-4)
    with pytest.raises(ValueError, match="clips of 4 frames, not of 8"):
        clip_encoder(spec)(frames[None, :4])
    with pytest.raises(SettingsError, match="encodes every frame alone: choose one such as videomae_vitb16"):
        clip_encoder(SPEC)
