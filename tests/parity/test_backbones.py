"""Vision transformers against the authors' released implementations (golden fixtures)."""

import re

import pytest
import torch
from safetensors.torch import load_file
from timm.models.vision_transformer import VisionTransformer

from stages.features.backbones.positions import resize_positions
from stages.features.backbones.vit import VitEncoder
from stages.features.backbones.weights import adapt, load_strictly
from tests.outside import outside

FACETS = ("tokens", "cls", "keys", "queries")

NEUTRAL_TO_RELEASED = (
    ("class_token", "cls_token"),
    ("position_embedding", "pos_embed"),
    ("patch_embedding.", "patch_embed.proj."),
    (".attention.qkv.", ".attn.qkv."),
    (".attention.out.", ".attn.proj."),
    (".mlp.linear1.", ".mlp.fc1."),
    (".mlp.linear2.", ".mlp.fc2."),
    (".scale1", ".ls1.gamma"),
    (".scale2", ".ls2.gamma"),
)


def fixture(name):
    return load_file(outside("golden", f"{name}.safetensors"))


def assert_close(found, expected, relative=1e-4):
    """The golden README's rule: |a - b| <= 1e-5 + 1e-4 * max|reference|; positions: 1e-5 alone."""
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= 1e-5 + relative * expected.abs().max()


def resized(table, case, wanted, mode):
    positions = table[f"in.{case}.position_embedding"][None]
    patch, native = int(table[f"in.{case}.patch"]), int(table[f"in.{case}.native_size"])
    height, width = table[f"in.{case}.{wanted}"].tolist()
    side = native // patch
    patches = resize_positions(positions[:, 1:], (side, side), (height // patch, width // patch), mode)
    return torch.cat([positions[:, :1], patches], dim=1)[0]


@pytest.mark.parametrize("name", ["dino_position_interpolation", "dinov2_position_interpolation"])
def test_positions_are_resized_as_the_releases_do(name):
    table = fixture(name)
    wanted = [re.fullmatch(r"out\.(\w+)\.(input_\w+?)(?:\.(offset_0p1|antialias))?", key) for key in table]
    cases = [match for match in wanted if match]
    assert cases
    for match in cases:
        mode = "antialias" if match[3] == "antialias" else "offset"
        assert_close(resized(table, match[1], match[2], mode), table[match[0]], relative=0.0)


def test_the_two_ways_of_resizing_differ():
    """Otherwise the test above could not tell them apart."""
    table = fixture("dinov2_position_interpolation")
    expected = table["out.case_a.input_a.antialias"]
    assert (resized(table, "case_a", "input_a", "offset") - expected).abs().max() > 1e-3


def transformer(table):
    config = {k.removeprefix("in.config."): v for k, v in table.items() if k.startswith("in.config.")}
    width = int(config["width"])
    model = VisionTransformer(
        img_size=int(config["native_size"]),
        patch_size=int(config["patch"]),
        embed_dim=width,
        depth=int(config["depth"]),
        num_heads=int(config["heads"]),
        mlp_ratio=int(config["mlp_hidden"]) / width,
        init_values=1.0 if any(".scale1" in key for key in table) else None,
        num_classes=0,
    )
    for norm in (m for m in model.modules() if isinstance(m, torch.nn.LayerNorm)):
        norm.eps = float(config["layer_norm_eps"])
    load_strictly(model, adapt(released(table), model), "fixture")
    return model.eval()


def released(table):
    """The fixture's parameters under the names that the released checkpoints use."""
    state = {}
    for key in (k for k in table if k.startswith("param.")):
        name = re.sub(r"^block(\d+)\.", r"blocks.\1.", key.removeprefix("param."))
        for neutral, own in NEUTRAL_TO_RELEASED:
            name = name.replace(neutral, own)
        state[name] = table[key]
    return state


def with_class(facets):
    return torch.cat([facets["cls"][:, None], facets["tokens"]], dim=1)


@torch.inference_mode()
@pytest.mark.parametrize("name", ["dino_vit", "dinov2_vit"])
def test_facets_are_those_of_the_releases(name):
    table = fixture(name)
    model, image = transformer(table), table["in.image"]
    depth = int(table["in.config.depth"])
    assert_close(VitEncoder(model, FACETS, positions="offset").embed(image), table["out.embedded"])
    for layer in range(depth):
        found = VitEncoder(model, FACETS, layer=layer, norm=False, positions="offset")(image)
        assert_close(with_class(found), table[f"out.block{layer}"])
        # Keys are per head with the class token first there, concatenated without it here.
        assert_close(found["keys"], table["out.last_keys"][:, :, 1:].transpose(1, 2).flatten(2))
    normed = VitEncoder(model, FACETS, norm=True, positions="offset")(image)
    assert_close(with_class(normed), table["out.normed"])
    if "out.full.features" in table:
        plain = VitEncoder(model, ("tokens",), norm=False, positions="offset")(image)
        assert_close(plain["tokens"], table["out.full.features"])


@torch.inference_mode()
@pytest.mark.parametrize("name", ["dino_vit", "dinov2_vit"])
def test_queries_and_keys_give_the_last_attention(name):
    table = fixture(name)
    encoder = VitEncoder(transformer(table), ("queries", "keys"), positions="offset")
    before_last = table[f"out.block{int(table['in.config.depth']) - 2}"]
    queries, keys = encoder.queries_keys(before_last)
    attention = (queries @ keys.transpose(-1, -2) / queries.shape[-1] ** 0.5).softmax(-1)
    assert_close(attention, table["out.last_attention"])
    facet = encoder(table["in.image"])["queries"]
    assert_close(facet, queries[:, :, 1:].transpose(1, 2).flatten(2))


@torch.inference_mode()
def test_dropped_patches_never_enter_the_blocks():
    table = fixture("dinov2_vit")
    encoder = VitEncoder(transformer(table), ("tokens",), norm=False, positions="offset")
    kept = table["in.kept_indices"]
    for indices in (kept, kept[None]):
        assert_close(encoder(table["in.image"], indices)["tokens"], table["out.dropped.features"])
    afterwards = table["out.full.features"][:, kept]
    assert (afterwards - table["out.dropped.features"]).abs().max() > 1e-3
