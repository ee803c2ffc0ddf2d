"""Scores on label maps against the authors' and the common public implementations (golden fixtures)."""

from __future__ import annotations

import numpy as np
import pytest
from safetensors.numpy import load_file

from stages.metrics.confusion import confusion
from stages.metrics.overlap import per_frame, per_object
from stages.metrics.protocols import ScoreOptions, pooled, score
from stages.metrics.rand_index import adjusted_rand
from stages.metrics.solv import evaluate, relabel, select_objects
from tests.outside import outside

SOLV_CASES = ("three_objects", "one_object", "object_disappears", "fewer_segments_than_objects", "id_gaps")
SOLV = ("miou@solv", "fgari@solv")


def fixture(name):
    return load_file(outside("golden", f"{name}.safetensors"))


def by_protocol(names, videos, options):
    """Data-set figures of pairs of prediction and ground truth."""
    found = [score(names, prediction, truth, None, options) for prediction, truth in videos]
    return {
        n: pooled(n, {str(i): [s for s in v if s.protocol == n] for i, v in enumerate(found)}) for n in names
    }


@pytest.mark.parametrize("bug", [False, True])
@pytest.mark.parametrize("case", SOLV_CASES)
def test_solv_evaluator(case, bug):
    golden = fixture("solv_evaluator")
    prediction, truth = golden[f"in.{case}.prediction"], golden[f"in.{case}.ground_truth"]
    expected = f"out.{case}." + ("" if case != "id_gaps" else "official." if bug else "corrected.")
    found = evaluate(confusion(prediction, truth), id_gap_bug=bug)
    assert np.array_equal(relabel(prediction, found), golden[expected + "relabelled"])
    assert np.abs(found.iou - golden[expected + "object_iou"]).max() <= 1e-6
    assert abs(found.iou.mean() - golden[expected + "miou"]) <= 1e-6
    assert abs(found.fg_ari - golden[expected + "fg_ari"]) <= 1e-6


@pytest.mark.parametrize(
    "aggregate, cases, bug",
    [("without_gaps", 4, False), ("all_corrected", 5, False), ("all_official", 5, True)],
)
def test_solv_aggregates(aggregate, cases, bug):
    golden = fixture("solv_evaluator")
    videos = [(golden[f"in.{c}.prediction"], golden[f"in.{c}.ground_truth"]) for c in SOLV_CASES[:cases]]
    found = by_protocol(SOLV, videos, ScoreOptions(id_gap_bug=bug))
    assert abs(found["miou@solv"] - golden[f"out.aggregate.{aggregate}.miou"]) <= 1e-6
    assert abs(found["fgari@solv"] - golden[f"out.aggregate.{aggregate}.fg_ari"]) <= 1e-6


@pytest.mark.parametrize("case", ["late_object", "empty_first"])
def test_solv_ground_truth_selection(case):
    golden = fixture("solv_ground_truth_selection")
    ids = golden[f"in.{case}.ids"]
    expected = golden[f"out.{case}.ground_truth"]
    assert np.array_equal(select_objects(ids), expected)
    found = evaluate(confusion(expected, ids))
    assert (found is None) == (not expected.any())
    if found is not None:
        assert found.iou.tolist() == [1.0] * int(expected.max()) and found.fg_ari == 1.0


def test_solv_pipeline_scores():
    golden = fixture("solv_inference_pipeline")
    prediction, truth = golden["out.associated_label_maps"], golden["in.ground_truth"]
    found = evaluate(confusion(prediction, truth))
    assert np.array_equal(relabel(prediction, found), golden["out.relabelled"])
    assert abs(found.iou.mean() - golden["out.miou"]) <= 1e-6
    assert abs(found.fg_ari - golden["out.fg_ari"]) <= 1e-6


@pytest.fixture(scope="module")
def scores():
    golden = fixture("segmentation_scores")
    pairs = list(zip(golden["in.prediction"], golden["in.ground_truth"], strict=True))
    return golden, pairs, [confusion(*pair) for pair in pairs]


@pytest.mark.parametrize(
    "protocol, expected",
    [
        ("fgari@video", "fg_ari_video"),
        ("mbo@video", "mbo_video"),
        ("miou@video", "hungarian_iou_video"),
        ("ari@video", "fg_ari_all_pixels_video"),
        ("fgari@frame-all", "fg_ari_frame_all_samples"),
    ],
)
def test_data_set_figures(scores, protocol, expected):
    golden, pairs, _ = scores
    found = by_protocol([protocol], pairs, ScoreOptions())[protocol]
    assert abs(found - golden[f"out.{expected}"]) <= 1e-6


def test_fg_ari_of_every_frame_and_video(scores):
    golden, _, videos = scores
    there = golden["out.frame_has_foreground"]
    frames = np.stack([adjusted_rand(video.counts[:, 1:]) for video in videos])
    assert np.array_equal(np.stack([video.truth_areas.any(axis=1) for video in videos]), there)
    assert np.abs(frames - golden["out.fg_ari_per_frame"])[there].max() <= 1e-6
    assert abs(frames[there].mean() - golden["out.fg_ari_frame"]) <= 1e-6
    whole = [adjusted_rand(video.counts[:, 1:].sum(axis=0)) for video in videos]
    assert np.abs(np.array(whole) - golden["out.fg_ari_per_video"]).max() <= 1e-6


@pytest.mark.parametrize("matching, expected", [("best", "mbo"), ("hungarian", "hungarian_iou")])
@pytest.mark.parametrize("absent, prefix", [("skip", ""), ("zero", "adapted.")])
def test_iou_of_frames(scores, matching, expected, absent, prefix):
    """The fixture's per-frame figures pool the frames of all videos."""
    golden, _, videos = scores
    found = np.concatenate([per_frame(video, matching, absent) for video in videos])
    assert abs(np.nanmean(found) - golden[f"out.{prefix}{expected}_frame"]) <= 1e-6


@pytest.mark.parametrize("matching, expected", [("best", "mbo"), ("hungarian", "hungarian_iou")])
def test_adapted_iou_of_videos(scores, matching, expected):
    """Absent ids count 0 there; no video of the fixture lacks one below its highest."""
    golden, _, videos = scores
    assert all(video.objects == tuple(range(1, len(video.objects) + 1)) for video in videos)
    found = np.mean([per_object(video, matching).mean() for video in videos])
    assert abs(found - golden[f"out.adapted.{expected}_video"]) <= 1e-6
