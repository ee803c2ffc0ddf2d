import math

import numpy as np
import pytest

from stages.metrics.boundary import boundary, compare, f_measure, j_measure, radius
from tests.stages.metrics.making import blobs, shaken


def whole_frame_f(prediction, truth, void=None):
    """The definition pixel by pixel, with distances between all boundary pixels."""
    if void is not None:
        prediction, truth = prediction & ~void, truth & ~void
    edges = []
    for mask in (prediction, truth):
        padded = np.pad(mask, ((0, 1), (0, 1)), mode="edge")
        edge = (mask != padded[:-1, 1:]) | (mask != padded[1:, :-1]) | (mask != padded[1:, 1:])
        edges.append(np.argwhere(edge))
    if not len(edges[0]) or not len(edges[1]):
        return float(len(edges[0]) == len(edges[1]))
    reach = math.ceil(0.008 * math.hypot(*truth.shape))
    near = ((edges[0][:, None] - edges[1][None]) ** 2).sum(axis=2) <= reach**2
    p, r = near.any(axis=1).mean(), near.any(axis=0).mean()
    return 2 * p * r / (p + r) if p + r else 0.0


def test_boundary_by_hand():
    mask = np.zeros((4, 5), bool)
    mask[1:3, 2] = True
    assert boundary(mask).astype(int).tolist() == [
        [0, 1, 1, 0, 0],
        [0, 1, 1, 0, 0],
        [0, 1, 1, 0, 0],
        [0, 0, 0, 0, 0],
    ]


def test_boundary_at_the_frames_edges():
    """The last row looks right only, the last column down only, the last pixel nowhere."""
    mask = np.zeros((3, 3), bool)
    mask[2, 1] = mask[1, 2] = True
    assert boundary(mask).astype(int).tolist() == [[0, 1, 1], [1, 1, 1], [1, 1, 0]]
    assert not boundary(np.ones((3, 4), bool)).any()


def test_radius_of_480p():
    assert radius(480, 854) == 8 and radius(28, 36) == 1 and radius(1080, 1920) == 18


@pytest.mark.parametrize(
    "size, with_void", [((40, 56), False), ((40, 56), True), ((70, 110), True), ((150, 200), False)]
)
def test_as_on_whole_frames(size, with_void):
    """Boxes around masks lose nothing, at the frame's edges either."""
    for seed in range(3):
        truth = blobs(seed, frames=2, size=size)[1]
        prediction = shaken(blobs(seed, frames=2, size=size), 3 + 7 * seed)[1]
        void = np.random.default_rng(seed).random(size) < 0.1 if with_void else None
        masks, objects = [prediction == k for k in range(4)], [truth == k for k in range(4)]
        j, f = compare(masks, objects, void)
        for k, mask in enumerate(masks):
            for g, thing in enumerate(objects):
                assert f[k, g] == pytest.approx(whole_frame_f(mask, thing, void), abs=1e-12)
                inside = np.ones(size, bool) if void is None else ~void
                union = ((mask | thing) & inside).sum()
                expected = ((mask & thing) & inside).sum() / union if union else 1.0
                assert j[k, g] == pytest.approx(expected, abs=1e-12)


def test_scattered_masks():
    random = np.random.default_rng(0)
    masks = [random.random((30, 40)) < share for share in (0.01, 0.3, 0.98)]
    for mask in masks:
        for other in masks:
            assert f_measure(mask, other) == pytest.approx(whole_frame_f(mask, other), abs=1e-12)


@pytest.mark.parametrize(
    "prediction, truth, j, f",
    [
        ("none", "none", 1.0, 1.0),
        ("none", "part", 0.0, 0.0),
        ("part", "none", 0.0, 0.0),
        ("full", "none", 0.0, 1.0),
        ("part", "full", 0.25, 0.0),
        ("part", "part", 1.0, 1.0),
    ],
)
def test_empty_and_full(prediction, truth, j, f):
    """A full frame has no boundary, so it agrees with an empty one in F."""
    masks = {"none": np.zeros((8, 8), bool), "full": np.ones((8, 8), bool), "part": np.zeros((8, 8), bool)}
    masks["part"][2:6, 2:6] = True
    assert j_measure(masks[prediction], masks[truth]) == j
    assert f_measure(masks[prediction], masks[truth]) == f


def test_all_void():
    full = np.ones((8, 8), bool)
    assert j_measure(full, ~full, full) == 1.0 and f_measure(full, ~full, full) == 1.0


def test_nothing_to_compare():
    j, f = compare([], [np.ones((4, 4), bool)])
    assert j.shape == f.shape == (0, 1)
