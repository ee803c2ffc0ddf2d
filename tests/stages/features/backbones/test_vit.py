import pytest
import torch
from timm.models.vision_transformer import VisionTransformer

from stages.errors import SettingsError
from stages.features.backbones.positions import resize_positions
from stages.features.backbones.vit import VitEncoder
from stages.features.backbones.weights import adapt, load_strictly

FACETS = ("tokens", "cls", "keys", "queries")


def transformer(**options):
    torch.manual_seed(0)
    defaults = {
        "img_size": 32,
        "patch_size": 8,
        "embed_dim": 24,
        "depth": 3,
        "num_heads": 3,
        "num_classes": 0,
    }
    model = VisionTransformer(**(defaults | options)).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model


@pytest.fixture
def images():
    return torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))


@torch.inference_mode()
@pytest.mark.parametrize("options", [{}, {"reg_tokens": 4, "no_embed_class": True}, {"init_values": 0.1}])
def test_the_same_as_timm_at_the_native_size(images, options):
    model = transformer(**options)
    expected = model.forward_features(images)
    found = VitEncoder(model, FACETS, norm=True)(images)
    assert torch.allclose(found["tokens"], expected[:, model.num_prefix_tokens :], atol=1e-5)
    assert torch.allclose(found["cls"], expected[:, 0], atol=1e-5)
    assert found["keys"].shape == found["queries"].shape == (2, 16, 24)


@torch.inference_mode()
def test_facets_do_not_disturb_each_other(images):
    """Keys are the last attention's whatever the layer; each facet alone is what it is among all."""
    model = transformer()
    for layer in range(3):
        together = VitEncoder(model, FACETS, layer=layer)(images)
        for facet in FACETS:
            alone = VitEncoder(model, (facet,), layer=layer - 3)(images)
            assert list(alone) == [facet]
            assert torch.equal(alone[facet], together[facet])
        assert torch.equal(together["keys"], VitEncoder(model, ("keys",))(images)["keys"])
        taken = model.forward_intermediates(
            images, indices=[layer], output_fmt="NLC", intermediates_only=True
        )
        assert torch.allclose(together["tokens"], taken[0], atol=1e-5)


@torch.inference_mode()
def test_dropped_patches(images):
    encoder = VitEncoder(transformer(reg_tokens=2), FACETS)
    everything = encoder(images)
    again = encoder(images, torch.arange(16))
    assert all(torch.equal(again[facet], everything[facet]) for facet in FACETS)
    kept = torch.tensor([[0, 3, 5], [1, 2, 15]])
    fewer = encoder(images, kept)
    assert fewer["tokens"].shape == (2, 3, 24)
    for i in range(2):
        one = encoder(images[i : i + 1], kept[i])
        assert torch.allclose(one["tokens"][0], fewer["tokens"][i], atol=1e-5)


@torch.inference_mode()
def test_released_register_models(images):
    """Their checkpoints add a position to the class token, none to the registers."""
    model = transformer(reg_tokens=4, no_embed_class=True)
    own = model.state_dict()
    released = {k: v for k, v in own.items() if k not in ("reg_token", "pos_embed")}
    released |= {
        "cls_token": torch.randn(1, 1, 24),
        "register_tokens": torch.randn(1, 4, 24),
        "pos_embed": torch.randn(1, 17, 24),
        "mask_token": torch.zeros(1, 24),
    }
    load_strictly(model, adapt(released, model), "released")
    embedded = VitEncoder(model).embed(images)
    patches = model.patch_embed(images)
    positions = released["pos_embed"]
    assert torch.allclose(embedded[:, 0], (released["cls_token"] + positions[:, :1])[:, 0].expand(2, -1))
    assert torch.allclose(embedded[:, 1:5], released["register_tokens"].expand(2, -1, -1))
    assert torch.allclose(embedded[:, 5:], patches + positions[:, 1:], atol=1e-6)
    assert "register_tokens" in released  # adapting leaves its input alone


def test_other_sizes_and_grids():
    positions = torch.randn(1, 12, 5)
    assert resize_positions(positions, (3, 4), (3, 4), "offset") is positions
    for mode in ("offset", "antialias"):
        for grid in ((4, 3), (1, 1), (24, 36), (37, 2)):
            assert resize_positions(positions, (3, 4), grid, mode).shape == (1, grid[0] * grid[1], 5)
    with torch.inference_mode():
        tokens = VitEncoder(transformer())(torch.rand(1, 3, 16, 72))["tokens"]
    assert tokens.shape == (1, 18, 24)


def test_what_a_model_can_not_give():
    with pytest.raises(SettingsError, match=r"layer=3: the model has 3 blocks"):
        VitEncoder(transformer(), layer=3)
    with pytest.raises(SettingsError, match="no class token"):
        VitEncoder(transformer(class_token=False, global_pool="avg"), ("cls",))
    with pytest.raises(SettingsError, match="36x40 pixels are not whole patches of 8x8"):
        VitEncoder(transformer()).grid(36, 40)
