"""VOL's video transformer and its masked pre-training against the released code (golden fixtures)."""

import re

import pytest
import torch

from stages.features.backbones.video_sizes import BlockSizes, VideoVitSizes
from stages.features.backbones.video_vit import VideoVit, position_code, resized_code
from stages.features.backbones.weights import load_strictly
from stages.pretraining.masked_video import MaskedVideo
from tests.parity.fixtures import assert_close, fixture

TABLE, RESIZED = 2e-6, 1e-5  # tolerances of the position code
NEUTRAL_TO_PUBLISHED = (
    ("patch_embedding.", "patch_embed.proj."),
    (".attention.out.", ".attn.proj."),
    (".attention.", ".attn."),
    (".mlp.linear1.", ".mlp.fc1."),
    (".mlp.linear2.", ".mlp.fc2."),
)


def published(name):
    """A fixture's parameter under the name that VideoMAE's checkpoints use."""
    name = re.sub(r"\bblock(\d+)\.", r"blocks.\1.", name)
    for neutral, own in NEUTRAL_TO_PUBLISHED:
        name = name.replace(neutral, own)
    return name


def parameters(table, prefix=""):
    found = {k.removeprefix("param."): v for k, v in table.items() if k.startswith("param.")}
    return {published(k).removeprefix(prefix): v for k, v in found.items()}


def config(table):
    return {k.removeprefix("in.config."): v for k, v in table.items() if k.startswith("in.config.")}


def at(code, positions, rows, columns):
    time, row, column = positions.T
    return code[(time * rows + row) * columns + column]


def worst(found, expected):
    assert found.shape == expected.shape
    return (found.double() - expected.double()).abs().max()


@pytest.mark.parametrize("case", ["case_a", "case_b"])
def test_position_code(case):
    table = fixture("vol_position_code")
    frames, side, width = table[f"in.{case}.shape"].tolist()
    native = (frames, side, side)
    code = position_code(native, width)
    assert worst(code, table[f"out.{case}.table"]) <= TABLE
    rows, columns = table[f"in.{case}.grid"].tolist()
    expected = table[f"out.{case}.resized"]
    resized = resized_code(code, native, len(expected) // (rows * columns), (rows, columns))
    assert worst(resized, expected) <= RESIZED


def test_position_code_of_the_real_model():
    table = fixture("vol_position_code")
    sizes = VideoVitSizes()
    code = position_code(sizes.native, sizes.width)
    assert worst(at(code, table["in.big.positions"], 14, 14), table["out.big.values"]) <= TABLE
    grid = tuple(table["in.big.resized_grid"].tolist())
    resized = resized_code(code, sizes.native, 16, grid)
    found = at(resized, table["in.big.resized_positions"], *grid)
    assert worst(found, table["out.big.resized_values"]) <= RESIZED


@torch.inference_mode()
def test_video_vit():
    table = fixture("vol_video_vit")
    given = config(table)
    native = (int(given["native_frames"]), *given["native_grid"].tolist())
    sizes = VideoVitSizes(*(int(given[k]) for k in ("width", "depth", "heads", "patch")), native)
    model = VideoVit(sizes).eval()
    load_strictly(model, parameters(table, "encoder."), "fixture")
    first = model.blocks[0](model.embed(table["in.video"]))
    assert_close(first, table["out.tokens_after_block0"])
    assert_close(model(table["in.video"]), table["out.features"])


def test_masked_pretraining():
    table = fixture("vol_masked_pretraining")
    given = config(table)
    encoder, decoder = (
        [int(given[f"{part}_{k}"]) for k in ("width", "depth", "heads")] for part in ("encoder", "decoder")
    )
    native = (int(given["native_frames"]), *given["grid"].tolist())
    statistics = (tuple(given["mean"].tolist()), tuple(given["std"].tolist()))
    sizes = VideoVitSizes(*encoder, int(given["patch"]), native)
    model = MaskedVideo(sizes, BlockSizes(*decoder), statistics)
    load_strictly(model, parameters(table), "fixture")
    video, mask = table["in.video"], table["in.mask"]
    assert_close(model.target(video, mask), table["out.target"])
    assert_close(model.predict(video, mask), table["out.prediction"])
    loss = model.loss(video, mask)
    assert_close(loss, table["out.loss"])
    loss.backward()
    prefix = "out.grad_norm."
    expected = {published(k.removeprefix(prefix)): v for k, v in table.items() if k.startswith(prefix)}
    found = {name: parameter.grad.norm() for name, parameter in model.named_parameters()}
    assert found.keys() == expected.keys()
    largest = max(expected.values())
    assert max(abs(found[name] - expected[name]) for name in expected) <= 1e-5 * largest
