"""Box metrics against VOL's own (golden fixture)."""

from __future__ import annotations

import numpy as np
import pytest
from safetensors.numpy import load_file

from stages.metrics import average_precision, corloc
from stages.metrics.average_precision import class_ap, match_boxes
from stages.metrics.box_protocols import FoundVideo, gather, pooled
from stages.metrics.boxes import BoxFrame
from tests.outside import outside

FIGURES = {
    "corloc": "corloc@vol",
    "decrate": "decrate@vol",
    "decrate_pooled": "decrate@vol-pooled",
    "map": "map50@vol",
}


@pytest.fixture(scope="module")
def golden():
    return load_file(outside("golden", "vol_box_metrics.safetensors"))


@pytest.fixture(scope="module")
def frames(golden):
    names = [f"frame_{i:02}" for i in range(int(golden["in.config.frames"]))]
    parts = ("gt_boxes", "gt_labels", "boxes", "scores")
    tensors = {key for key in golden if not key.startswith("in.config.")}
    assert tensors == {f"in.{n}.{p}" for n in names for p in parts} | {
        "out.ap", "out.ap_defined", *(f"out.{name}" for name in FIGURES)
    }  # fmt: skip
    assert golden["in.config.threshold"] == corloc.LEAST == average_precision.LEAST
    return [BoxFrame(*(golden[f"in.{name}.{part}"] for part in parts)) for name in names]


@pytest.mark.parametrize("videos", [1, 3])
@pytest.mark.parametrize("name", FIGURES)
def test_figures(golden, frames, name, videos):
    """Cut into videos the frames give the same figure."""
    protocol, length = FIGURES[name], -(-len(frames) // videos)
    parts = [frames[i : i + length] for i in range(0, len(frames), length)]
    rows = [found.rows for part in parts for found in gather([protocol], FoundVideo(part))]
    assert abs(pooled(protocol, rows) - golden[f"out.{name}"]) <= 1e-5


def test_ap_of_classes(golden, frames):
    expected = golden["out.ap"]
    found = class_ap(match_boxes(frames), len(expected))
    assert np.array_equal(~np.isnan(found), golden["out.ap_defined"])
    assert np.abs(np.nan_to_num(found) - expected).max() <= 1e-5
