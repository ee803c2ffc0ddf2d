"""SOLV's model and its parts against the authors' released implementation (golden fixtures)."""

import math
import re

import numpy as np
import pytest
import torch

from stages.discovery.blocks import grid as grids
from stages.discovery.blocks.decoder import BroadcastDecoder
from stages.discovery.blocks.invariant import InvariantSlotAttention
from stages.discovery.blocks.mlp import InputProjection
from stages.discovery.blocks.temporal import TemporalBinder
from stages.discovery.contract import Batch, FeatureShape, Progress
from stages.discovery.solv import SolvMethod
from stages.discovery.solv_model import SolvModel
from stages.learning.schedules import warmup_exponential
from stages.merging.linking import link
from stages.merging.slots import assign, merge
from stages.tubes.upsample import upsample_argmax
from tests.parity.fixtures import assert_close, fixture

NAMES = (
    (r"slot_attention\.initial_slots", "slot_attention.initial.vectors"),
    (r"slot_attention\.gru\.", "slot_attention.update.gru."),
    (r"slot_attention\.slot_mlp\.", "slot_attention.update.mlp."),
    (r"temporal\.layer(\d)\.attention\.qkv\.", r"temporal.layers.\1.self_attn.in_proj_"),
    (r"temporal\.layer(\d)\.attention\.out\.", r"temporal.layers.\1.self_attn.out_proj."),
    (r"temporal\.layer(\d)\.", r"temporal.layers.\1."),
)


def ours(name):
    """The name of a fixture's parameter in our modules."""
    for pattern, replacement in NAMES:
        name = re.sub("^" + pattern, replacement, name)
    layer = re.match(r"decoder\.linear(\d)\.", name)
    return name if not layer else f"decoder.layers.{int(layer[1]) - 1}." + name[layer.end() :]


def parameters(table, prefix=""):
    return {
        ours(key[6:])[len(prefix) :]: value
        for key, value in table.items()
        if key.startswith("param.") and ours(key[6:]).startswith(prefix)
    }


def number(table, name):
    return table[f"in.config.{name}"].item()


def model_of(table, **options):
    rows, columns = int(number(table, "grid_rows")), int(number(table, "grid_cols"))
    shapes = parameters(table)
    hidden = shapes["temporal.layers.0.linear1.weight"].shape[0]
    mlp = shapes["slot_attention.update.mlp.linear1.weight"].shape[0]
    assert hidden == mlp
    method = SolvMethod(
        slots=int(number(table, "num_slots")),
        slot_width=int(number(table, "slot_width")),
        hidden=hidden,
        decoder=(int(number(table, "decoder_hidden")),) * 4,
        dropout=0.0,
        merge_threshold=number(table, "merge_threshold"),
        **options,
    )
    model = SolvModel(method, FeatureShape(rows, columns, int(number(table, "feature_width"))))
    model.load_state_dict(shapes)
    return model


@pytest.mark.parametrize("tokens", ["all", "drop"])
@pytest.mark.parametrize("merged", ["merge", "no_merge"])
@pytest.mark.parametrize("variant", ["official", "corrected"])
def test_the_whole_model(tokens, merged, variant):
    table = fixture("solv_full_model")
    case = f"out.{tokens}_{merged}" + ("" if tokens == "all" else f"_{variant}")
    model = model_of(table, merge=merged == "merge", relgrid_index_bug=variant == "official").eval()
    kept = table.get(f"in.{tokens}.kept_indices")
    with torch.no_grad():
        found = model(table[f"in.{tokens}.features"], table["in.frame_available"], kept)
    assert found.merged.count.tolist() == table[f"{case}.num_active_slots"].tolist()
    assert_close(found.reconstruction, table[f"{case}.reconstruction"])
    assert_close(found.masks, table[f"{case}.masks"])
    assert_close(found.merged.slots, table[f"{case}.slots"])
    inactive = ~found.merged.active
    assert (found.masks[inactive] == 0).all()
    assert torch.allclose(found.masks.sum(1), torch.ones(()), atol=1e-5)


@pytest.mark.parametrize("tokens", ["all", "drop"])
def test_invariant_slot_attention(tokens):
    table = fixture("solv_invariant_slot_attention")
    rows, columns = int(number(table, "grid_rows")), int(number(table, "grid_cols"))
    features, kept = table[f"in.{tokens}.features"], table.get(f"in.{tokens}.kept_indices")
    width, slots = int(number(table, "slot_width")), int(number(table, "num_slots"))
    project = InputProjection(features.shape[-1], width)
    project.load_state_dict(parameters(table, "input_projection."))
    attend = InvariantSlotAttention(
        width, slots, rows, columns, hidden=int(number(table, "slot_mlp_hidden"))
    ).eval()
    attend.load_state_dict(parameters(table, "slot_attention."))
    decoder = BroadcastDecoder(width, features.shape[-1], rows * columns, [8], relative_grid=True)
    decoder.relative_grid_linear.load_state_dict(parameters(table, "decoder.relative_grid_linear."))
    with torch.no_grad():
        found, _, attention = attend(project(features), kept)
        relative = grids.relative(attend.grid_of(None), *grids.locate(attention, attend.grid_of(kept)))
        projected = decoder.relative_grid_linear(relative)
    assert_close(found, table[f"out.{tokens}.slots"])
    assert_close(attention, table[f"out.{tokens}.attention"])
    assert_close(relative, table[f"out.{tokens}.relative_grid"])
    assert_close(projected, table[f"out.{tokens}.relative_grid_projected"])


def test_temporal_binder():
    table = fixture("solv_temporal_binder")
    slots, available = table["in.slots"], table["in.frame_available"]
    binder = TemporalBinder(
        slots.shape[-1],
        slots.shape[1],
        int(number(table, "layers")),
        int(number(table, "heads")),
        int(number(table, "feedforward")),
    ).eval()
    binder.load_state_dict(parameters(table, "temporal."))
    with torch.no_grad():
        found = binder(slots, available)
    assert_close(found[:, 2], table["out.centre_slots"])
    assert_close(found[available], table["out.all_frames"][available])


@pytest.mark.parametrize("skipped", [False, True])
def test_slot_merger(skipped):
    table = fixture("solv_slot_merger")
    slots, case = table["in.slots"], "out.skipped" if skipped else "out"
    skip = torch.full((len(slots),), skipped)
    groups = assign(slots, number(table, "threshold"), 3, skip)
    found = merge(slots, table["in.attention"], groups)
    assert found.count.tolist() == table[f"{case}.count"].tolist()
    assert_close(found.slots, table[f"{case}.merged_slots"])
    assert_close(found.attention, table[f"{case}.merged_attention"])
    if not skipped:
        assert groups.tolist() == table["out.cluster_of_slot"].tolist()
        raw = assign(slots, number(table, "threshold"), 1)
        assert (raw.amax(1) + 1).tolist() == table["out.raw_cluster_count"].tolist()


@pytest.mark.parametrize("case", ["equal", "varying", "growing"])
def test_slot_association(case):
    table = fixture("solv_slot_association")
    counts = table[f"in.{case}.slot_counts"].tolist()
    labels = link([part.numpy() for part in table[f"in.{case}.slots"].split(counts)])
    maps = table[f"in.{case}.label_maps"].numpy()
    relabelled = np.stack([frame_labels[frame] for frame_labels, frame in zip(labels, maps, strict=True)])
    assert (relabelled == table[f"out.{case}.label_maps"].numpy()).all()


def test_inference_up_to_the_linked_label_maps():
    table = fixture("solv_inference_pipeline")
    counts = table["in.slot_counts"]
    rows, columns = int(number(table, "patch_rows")), int(number(table, "patch_cols"))
    masks = table["in.masks"].unflatten(2, (rows, columns))
    active = torch.arange(masks.shape[1]) < counts[:, None]
    size = (int(number(table, "height")), int(number(table, "width")))
    maps = upsample_argmax(masks, active, size)
    assert (maps == table["out.label_maps"]).all()
    labels = link([part.numpy() for part in table["in.slots"].split(counts.tolist())])
    linked = np.stack([found[frame] for found, frame in zip(labels, maps.numpy(), strict=True)])
    assert (linked == table["out.associated_label_maps"].numpy()).all()


@pytest.mark.parametrize("case", ["case_a", "case_b"])
def test_learning_rate(case):
    table = fixture("solv_learning_rate")
    total, peak = int(table[f"in.{case}.total_steps"]), float(table[f"in.{case}.peak"])
    for step, expected in zip(
        table[f"in.{case}.steps"].tolist(), table[f"out.{case}.learning_rate"].tolist(), strict=True
    ):
        assert math.isclose(peak * warmup_exponential(step, total), expected, rel_tol=1e-5)


@pytest.mark.parametrize("variant", ["official", "corrected"])
def test_training_step(variant, monkeypatch):
    """Loss and every gradient norm; the fixture's kept positions stand for the random ones."""
    table = fixture("solv_training_step")
    model = model_of(table, relgrid_index_bug=variant == "official").train()
    kept = table["in.kept_indices"]
    monkeypatch.setattr(model, "_dropped", lambda batch, draws: (table["in.features"], kept))
    target = table["in.target"][:, None].expand(-1, 5, -1, -1)
    batch = Batch({("base", "tokens"): target}, table["in.frame_available"], model.shape)
    losses = model.training_step(batch, Progress(9, 10, 9, 10), torch.Generator().manual_seed(0))
    losses["loss"].backward()
    assert_close(losses["loss"].detach(), table[f"out.{variant}.loss"])
    norms = {name: p.grad.norm() for name, p in model.named_parameters()}
    prefix = f"out.{variant}.grad_norm."
    expected = {ours(key[len(prefix) :]): value for key, value in table.items() if key.startswith(prefix)}
    assert norms.keys() == expected.keys()
    largest = max(value.item() for value in expected.values())
    for name, value in expected.items():
        assert abs(norms[name].item() - value.item()) <= 1e-5 * largest, name
    total = torch.stack(list(norms.values())).norm()
    assert_close(total, table[f"out.{variant}.grad_norm_total"])
