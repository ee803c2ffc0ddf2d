"""VOL's grouping and learning rate against the authors' released implementation (golden fixtures)."""

import math
import re

import torch
from torch.nn import functional

from stages.discovery.contract import FeatureShape
from stages.discovery.vol import VolMethod
from stages.discovery.vol_model import VolModel, losses
from tests.parity.fixtures import assert_close, fixture

NAMES = (
    (r"slot_mean$", "slot_attention.initial.mean"),
    (r"slot_log_std$", "slot_attention.initial.log_std"),
    (r"slot_attention\.norm_input\.", "slot_attention.input_norm."),
    (r"slot_attention\.norm_slots\.", "slot_attention.slot_norm."),
    (r"slot_attention\.gru\.", "slot_attention.update.gru."),
    (r"slot_attention\.slot_mlp\.", "slot_attention.update.mlp."),
    (r"input_mlp\.norm\.", "input_projection.norm_in."),
    (r"input_mlp\.", "input_projection."),
)


def ours(name):
    """The name of a fixture's parameter in our modules."""
    for pattern, replacement in NAMES:
        name = re.sub("^" + pattern, replacement, name)
    layer = re.match(r"decoder\.linear(\d)\.", name)
    return name if not layer else f"decoder.layers.{int(layer[1]) - 1}." + name[layer.end() :]


def test_grouping():
    table = fixture("vol_grouping")
    weights = {ours(key[6:]): value for key, value in table.items() if key.startswith("param.")}
    noise, expected = table["in.slot_noise"], table["out.masks"]
    frames, tokens = expected.shape[1], expected.shape[3]
    rows = table["out.masks_image_first"].shape[1] // 16
    grid = (rows, tokens // rows)
    codes = weights["decoder.position_embedding"]
    layers = sum(re.fullmatch(r"decoder\.layers\.\d\.bias", name) is not None for name in weights)
    method = VolMethod(
        slots=noise.shape[1],
        slot_width=noise.shape[2],
        frames=frames,
        hidden=len(weights["slot_attention.update.mlp.linear1.weight"]),
        decoder=tuple(len(weights[f"decoder.layers.{i}.bias"]) for i in range(layers - 1)),
        position_grid=math.isqrt(codes.shape[1]),
    )
    features = table["in.features"].unflatten(1, (frames, tokens))
    model = VolModel(method, FeatureShape(*grid, features.shape[-1]))
    model.load_state_dict(weights)

    found = model(features, grid, noise)
    loss = losses(found, features)["loss"]
    loss.backward()
    assert_close(found.slots.detach(), table["out.slots"])
    assert_close(found.attention.detach().transpose(1, 2).flatten(2), table["out.attention"])
    assert_close(found.reconstruction.detach().flatten(1, 2), table["out.reconstruction"])
    assert_close(found.masks.detach(), expected)
    assert_close(loss.detach(), table["out.loss"])
    picture = found.masks.detach()[:1, 0].unflatten(2, grid)
    picture = functional.interpolate(picture, scale_factor=16, mode="bilinear", align_corners=False)
    assert_close(picture[0], table["out.masks_image_first"])

    norms = {name: parameter.grad.norm().item() for name, parameter in model.named_parameters()}
    reference = {
        ours(key.removeprefix("out.grad_norm.")): value.item()
        for key, value in table.items()
        if key.startswith("out.grad_norm.")
    }
    assert norms.keys() == reference.keys()
    for name, value in reference.items():
        assert abs(norms[name] - value) <= 1e-5 * max(reference.values()), name


def test_learning_rate():
    table = fixture("vol_learning_rate")
    schedule = VolMethod().implement().schedule
    for step, expected in zip(table["in.steps"].tolist(), table["out.factor"].tolist(), strict=True):
        assert math.isclose(schedule("vol", step, 145_000), expected, rel_tol=1e-6, abs_tol=0)


def test_published_sizes():
    """Acceptance check 2: 224 x 400 pixels in patches of 16, eight frames."""
    method = VolMethod(decoder=(4,))
    model = VolModel(method, FeatureShape(14, 25, 6))
    assert model.decoder.position_embedding.shape == (8, 196, 128)
    assert model.decoder.positions(14, 25).unflatten(0, (8, -1)).shape == (8, 350, 128)
    with torch.no_grad():
        found = model(torch.randn(1, 8, 350, 6), (14, 25))
    assert found.reconstruction.flatten(1, 2).shape == (1, 2800, 6)
    assert found.masks.shape == (1, 8, 15, 350)
