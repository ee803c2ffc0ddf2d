"""DAVIS scores against the official scorer and the one that SMTC and BA ship (golden fixtures)."""

from __future__ import annotations

import numpy as np
import pytest
from safetensors.numpy import load_file

from stages.metrics.boundary import boundary, f_measure, j_measure, radius
from stages.metrics.davis import semi_supervised, unsupervised, unsupervised_per_frame
from stages.metrics.proposals import Proposals
from stages.metrics.protocols import pooled, score
from stages.metrics.statistics import statistics
from tests.outside import outside

TIGHT = 1e-6
FIGURES = ("j", "f", "jf", "jrecall", "frecall", "jdecay", "fdecay")
VIDEOS = ("alpha", "beta")


def fixture(name):
    return load_file(outside("golden", f"{name}.safetensors"))


def expected_name(figure):
    return {"j": "j_mean", "f": "f_mean", "jf": "j_and_f"}.get(figure, f"{figure[0]}_{figure[1:]}")


def split_void(truth):
    return np.where(truth == 255, 0, truth), truth == 255


def tubes(prediction):
    """The official format has 0 for background and proposals from 1 on."""
    return prediction - 1


@pytest.mark.parametrize("size", ["size_a", "size_b", "size_c", "size_d"])
def test_j_and_f(size):
    golden = fixture("davis_j_and_f")
    masks, truths, voids = (golden[f"in.{size}.{key}"] for key in ("prediction", "ground_truth", "void"))
    assert radius(*masks.shape[1:]) == golden[f"in.config.{size}_radius"]
    for i, (mask, truth, void) in enumerate(zip(masks, truths, voids, strict=True)):
        assert abs(j_measure(mask, truth) - golden[f"out.{size}.j"][i]) <= TIGHT
        assert abs(f_measure(mask, truth) - golden[f"out.{size}.f"][i]) <= TIGHT
        assert abs(j_measure(mask, truth, void) - golden[f"out.{size}.j_void"][i]) <= TIGHT
        assert abs(f_measure(mask, truth, void) - golden[f"out.{size}.f_void"][i]) <= TIGHT


@pytest.mark.parametrize("size", ["size_a", "size_b", "size_c", "size_d"])
def test_boundary_maps(size):
    golden = fixture("davis_j_and_f")
    truths, expected = golden[f"in.{size}.ground_truth"], golden[f"out.{size}.boundary"]
    assert np.array_equal(boundary(truths[0]), expected[0])
    assert np.array_equal(boundary(truths[-1]), expected[-1])


@pytest.mark.parametrize("name", "abcdef")
def test_statistics(name):
    golden = fixture("davis_statistics")
    found = statistics(golden[f"in.curve_{name}"], decay_uint8_bug=True)
    expected = golden[f"out.curve_{name}"]
    assert np.abs(np.array([found.mean, found.recall, found.decay]) - expected).max() <= TIGHT
    assert found == statistics(golden[f"in.curve_{name}"])


@pytest.fixture(scope="module")
def unsupervised_golden():
    return fixture("davis_unsupervised_protocol")


@pytest.mark.parametrize("video", VIDEOS)
def test_unsupervised_curves(unsupervised_golden, video):
    golden = unsupervised_golden
    truth, void = split_void(golden[f"in.{video}.ground_truth"])
    found = unsupervised(tubes(golden[f"in.{video}.prediction"]), truth, void)
    order = golden[f"out.{video}.matched_object_ids"] - 1
    expected = golden[f"out.{video}.matched_proposal_ids"]
    padding = expected > golden[f"in.{video}.prediction"].max()
    assert np.array_equal(found.matched[order, 0], np.where(padding, -1, expected - 1))
    assert np.abs(found.j[order] - golden[f"out.{video}.j"]).max() <= TIGHT
    assert np.abs(found.f[order] - golden[f"out.{video}.f"]).max() <= TIGHT


def figures(golden, definition, prediction):
    """Data-set figures of both sequences, and the scores by video and protocol."""
    names = [f"{figure}@{definition}" for figure in FIGURES]
    scores = {}
    for video in VIDEOS:
        truth, void = split_void(golden[f"in.{video}.ground_truth"])
        scores[video] = score(names, prediction(video), truth, void)
    return {
        n: pooled(n, {v: [s for s in scores[v] if s.protocol == n] for v in VIDEOS}) for n in names
    }, scores


def check_figures(golden, definition, found):
    for figure in FIGURES:
        expected = golden[f"out.{expected_name(figure)}"]
        assert abs(found[f"{figure}@{definition}"] - expected) <= TIGHT, figure


def test_unsupervised_figures(unsupervised_golden):
    golden = unsupervised_golden
    found, scores = figures(golden, "davis17u", lambda video: tubes(golden[f"in.{video}.prediction"]))
    check_figures(golden, "davis17u", found)
    for figure in ("j", "f", "jrecall", "frecall", "jdecay", "fdecay"):
        expected = golden[f"out.{expected_name(figure) if len(figure) > 1 else figure + '_mean'}_per_object"]
        rows = []
        for video in VIDEOS:
            mine = {s.object: s.value for s in scores[video] if s.protocol == f"{figure}@davis17u"}
            rows += [mine[int(number)] for number in golden[f"out.{video}.matched_object_ids"]]
        assert np.abs(np.array(rows) - expected).max() <= TIGHT


def test_semi_supervised():
    golden = fixture("davis_semi_supervised_protocol")
    found, scores = figures(golden, "davis17s", lambda video: golden[f"in.{video}.prediction"])
    check_figures(golden, "davis17s", found)
    for video in VIDEOS:
        curves = semi_supervised(golden[f"in.{video}.prediction"], golden[f"in.{video}.ground_truth"])
        assert np.abs(curves.j - golden[f"out.{video}.j"]).max() <= TIGHT
        assert np.abs(curves.f - golden[f"out.{video}.f"]).max() <= TIGHT
    for figure in ("jdecay", "frecall"):
        rows = [s.value for video in VIDEOS for s in scores[video] if s.protocol == f"{figure}@davis17s"]
        assert np.abs(np.array(rows) - golden[f"out.{expected_name(figure)}_per_object"]).max() <= TIGHT


@pytest.fixture(scope="module")
def per_frame_golden():
    return fixture("ba_davis_per_frame_evaluation")


def test_per_frame_figures(per_frame_golden):
    """Rows of the fixture mix objects where empty proposals tie; these figures do not depend on it."""
    golden = per_frame_golden
    found, _ = figures(
        golden, "davis17u-perframe", lambda video: Proposals.of(golden[f"out.{video}.binary_proposals"])
    )
    check_figures(golden, "davis17u-perframe", found)


@pytest.mark.parametrize("video", VIDEOS)
def test_soft_maps_become_proposals(per_frame_golden, video):
    golden = per_frame_golden
    expected, shape = golden[f"out.{video}.binary_proposals"], golden[f"in.{video}.ground_truth"].shape
    soft = [golden[f"in.{video}.proposals.{t}"] for t in range(shape[0] - 1)]
    found = Proposals.of_soft(soft, shape)
    assert found.count == len(expected)
    assert np.array_equal(np.stack([found.read(t) for t in range(shape[0])], axis=1), expected)
    assert np.array_equal(found.areas(), expected.sum(axis=(1, 2, 3)))


@pytest.mark.parametrize("video", VIDEOS)
def test_per_frame_values(per_frame_golden, video):
    golden = per_frame_golden
    truth, void = split_void(golden[f"in.{video}.ground_truth"])
    found = unsupervised_per_frame(Proposals.of(golden[f"out.{video}.binary_proposals"]), truth, void)
    for curves, expected in ((found.j, "j"), (found.f, "f")):
        wanted = np.sort(golden[f"out.{video}.{expected}"], axis=0)
        assert np.abs(np.sort(curves, axis=0) - wanted).max() <= TIGHT
