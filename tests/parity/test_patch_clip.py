"""Patch-level CLIP against the authors' release (golden fixture ``vol_patch_clip``)."""

import re

import pytest
import torch
from open_clip.transformer import QuickGELU, VisionTransformer

from stages.features.backbones.weights import load_strictly
from stages.labeling.clip_patches import PatchTower
from stages.labeling.patch_branch import PatchBranch, contrast
from tests.parity.fixtures import assert_close, fixture

NEUTRAL_TO_OWN = (
    ("class_token", "class_embedding"),
    ("position_embedding", "positional_embedding"),
    ("output_projection", "proj"),
    ("patch_embedding.", "conv1."),
    ("norm_pre.", "ln_pre."),
    ("norm_post.", "ln_post."),
    ("attention.qkv.", "attn.in_proj_"),
    ("attention.out.", "attn.out_proj."),
    ("norm1.", "ln_1."),
    ("norm2.", "ln_2."),
    ("mlp.linear1.", "mlp.c_fc."),
    ("mlp.linear2.", "mlp.c_proj."),
)


def own_name(name):
    """The name in open_clip of a parameter of the tower or of the branch's block."""
    name = re.sub(r"^block(\d+)\.", r"transformer.resblocks.\1.", name)
    for neutral, own in NEUTRAL_TO_OWN:
        name = name.replace(neutral, own)
    return name


def branch_name(name):
    return f"block.{own_name(name.removeprefix('block.'))}" if name.startswith("block.") else name


def parameters(table, part, rename):
    prefix = f"param.{part}."
    return {rename(k.removeprefix(prefix)): v for k, v in table.items() if k.startswith(prefix)}


@pytest.fixture(scope="module")
def case():
    table = fixture("vol_patch_clip")
    state = parameters(table, "clip", own_name)
    width, embedding = state["proj"].shape
    patch = state["conv1.weight"].shape[-1]
    size = table["in.square_images"].shape[-1]
    blocks = {key.split(".")[2] for key in state if key.startswith("transformer.")}
    visual = VisionTransformer(
        image_size=size, patch_size=patch, width=width, layers=len(blocks), heads=4, mlp_ratio=4.0,
        output_dim=embedding, act_layer=QuickGELU,
    )  # fmt: skip
    load_strictly(visual, state, "fixture")
    tower = PatchTower(visual)
    branch = PatchBranch.of(tower)
    load_strictly(branch, parameters(table, "branch", branch_name), "fixture")
    return table, tower, branch


def test_everything_in_the_fixture(case):
    table, tower, branch = case
    found = {}
    outputs = tower(table["in.images"])
    features = branch(outputs.penultimate)
    result = contrast(features, outputs.image)
    result.loss.backward()
    found["clip_penultimate"], found["image_embedding"] = outputs.penultimate, outputs.image
    found["plain_patch_features"], found["patch_features"] = outputs.plain, features
    found["pooling_weights"], found["pooled"], found["loss"] = result.weights, result.pooled, result.loss
    square = tower(table["in.square_images"])
    found["square.patch_features"] = branch(square.penultimate)
    found["square.image_embedding"] = square.image
    gradients = {name: parameter.grad.norm() for name, parameter in branch.named_parameters()}
    norms = {k: v for k, v in table.items() if k.startswith("out.grad_norm.")}
    for name, value in norms.items():
        key = name.removeprefix("out.grad_norm.").removeprefix("branch.")
        found[name.removeprefix("out.")] = gradients[branch_name(key)]
    assert len(norms) == len(gradients)
    expected = {k.removeprefix("out."): v for k, v in table.items() if k.startswith("out.")}
    assert set(found) == set(expected)
    for name, value in expected.items():
        assert_close(found[name].detach(), value)


def test_positions_are_resized_without_antialias(case):
    """Else the fixture could not tell: with antialias the penultimate tokens differ by more than allowed."""
    tower = case[1]
    field = tower.visual.positional_embedding[1:].T.unflatten(1, tower.native)[None]
    smooth = torch.nn.functional.interpolate(field, size=(3, 5), mode="bicubic", antialias=True)
    plain = tower.positions((3, 5))[1:]
    assert (smooth[0].flatten(1).T - plain).abs().max() > 1e-3
