"""VOL's naming, filter, merging, scores and boxes against the authors' released implementation."""

import pytest
import torch

from stages.labeling.boxes import boxes
from stages.labeling.merging import ADJACENCIES, merge, touching
from stages.labeling.naming import class_of, class_scores, hard_masks, keep_foreground, pool, text_logits
from tests.parity.fixtures import fixture


@pytest.mark.parametrize("case", ["merge", "adjacency_matters", "nothing_survives"])
def test_post_processing(case):
    table = fixture("vol_post_processing")
    rows, columns, targets, scale = (
        int(table[f"in.config.{name}"]) for name in ("rows", "cols", "foreground_classes", "box_scale")
    )
    text = table[f"in.{case}.text_features"]
    masks, present = hard_masks(table[f"in.{case}.alpha"])
    pooled = pool(table[f"in.{case}.patch_features"], masks)
    logits = text_logits(pooled, text)
    kept = keep_foreground(logits, targets)
    assert present.tolist() == table[f"out.{case}.present_ids"].tolist()
    assert (logits - table[f"out.{case}.naming_logits"]).abs().max() <= 1e-3
    assert present[kept].tolist() == table[f"out.{case}.kept_ids"].tolist()

    grid = masks.unflatten(2, (rows, columns)).numpy()
    for adjacency in ADJACENCIES:
        expected = {
            name: table[f"out.{case}.{adjacency}.{name}"]
            for name in ("merged_ids", "merged_masks", "scores", "boxes")
        }
        merged = merge(touching(grid, adjacency), class_of(logits, targets).numpy(), kept.numpy())
        large = merged.masks(grid)
        scores = class_scores(text_logits(torch.from_numpy(merged.sums(pooled.numpy())), text), targets)
        assert present[[group[0] for group in merged.members]].tolist() == expected["merged_ids"].tolist()
        assert (large == expected["merged_masks"].numpy()).all()
        assert scores.shape == expected["scores"].shape
        assert (scores - expected["scores"]).abs().max() <= 1e-4
        assert (boxes(large, (scale * rows, scale * columns)) == expected["boxes"].numpy()).all()
    used = {"alpha", "patch_features", "text_features", "present_ids", "naming_logits", "kept_ids"}
    others = {key.split(".", 2)[2] for key in table if key.split(".")[1] == case} - used
    assert others == {f"{adjacency}.{name}" for adjacency in ADJACENCIES for name in expected}
