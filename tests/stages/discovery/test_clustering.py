"""Segmentation without training, on videos whose groups are known."""

import numpy as np
import pytest
import torch

from stages.discovery.baselines import (
    BlocksMethod,
    CentreBoxMethod,
    KMeansMethod,
    OneMethod,
    SpectralMethod,
)
from stages.discovery.clustering import from_labels
from tests.stages.discovery.making_solv import ToyVideo, noise

ROWS, COLUMNS = 4, 6
KINDS = 5 * torch.eye(3, 8)


def groups(frames=3):
    """Three upright bands that move one patch to the right per frame, int (T, N)."""
    columns = (torch.arange(COLUMNS)[None] - torch.arange(frames)[:, None]) % COLUMNS // 2
    return columns[:, None].expand(-1, ROWS, -1).flatten(1)


def toy(frames=3):
    return ToyVideo(KINDS[groups(frames)] + 0.05 * noise(frames, ROWS * COLUMNS, 8), ROWS, COLUMNS)


def tubes(method, video):
    """Tube numbers int (T, h, w), after checks that hold for all."""
    found = method.implement().segment({}, video)
    masks = found.masks["cluster"]
    assert found.slots is None and not found.overlapping and list(found.masks) == ["cluster"]
    assert set(masks.unique().tolist()) <= {0.0, 1.0} and (masks.sum(1) == 1).all()
    assert torch.equal(found.active, masks.flatten(2).any(2))
    assert ((found.identity >= 0) == found.active).all()
    return found.identity.gather(1, masks.argmax(1).flatten(1)).view(-1, *masks.shape[2:])


def assert_same_groups(first, second):
    """Equal up to the numbers."""
    pairs = set(zip(first.flatten().tolist(), second.flatten().tolist(), strict=True))
    assert len(pairs) == len(set(first.flatten().tolist())) == len(set(second.flatten().tolist()))


@pytest.mark.parametrize("method", [KMeansMethod(clusters=3), SpectralMethod(clusters=3)])
@pytest.mark.parametrize("frames", [1, 3, 40])
def test_known_groups_are_found_and_stay_tubes(method, frames):
    video = toy(frames)
    assert_same_groups(tubes(method, video), groups(frames))
    assert all(stop - start <= 32 for start, stop in video.reads), "a long video is read in pieces"


@pytest.mark.parametrize("method", [KMeansMethod(clusters=4, sample=20), SpectralMethod(clusters=4)])
def test_seeds_decide(method):
    first, again = (tubes(method, ToyVideo(noise(3, 24, 8), ROWS, COLUMNS)) for _ in range(2))
    assert torch.equal(first, again)


def test_a_sample_is_enough_for_known_groups():
    assert_same_groups(tubes(KMeansMethod(clusters=3, sample=60), toy(10)), groups(10))


def test_cosine_ignores_lengths():
    lengths = 1 + 20 * torch.rand((3, 24, 1), generator=torch.Generator().manual_seed(0))
    video = ToyVideo(KINDS[groups()] * lengths, ROWS, COLUMNS)
    assert_same_groups(tubes(KMeansMethod(clusters=3, cosine=True), video), groups())
    with pytest.raises(AssertionError):
        assert_same_groups(tubes(KMeansMethod(clusters=3), video), groups())


def test_positions_alone_separate_equal_tokens():
    video = ToyVideo(torch.zeros(2, 24, 8), ROWS, COLUMNS)
    found = tubes(KMeansMethod(clusters=2, position=1.0), video)
    upper, lower = found[:, :2].unique().tolist(), found[:, 2:].unique().tolist()
    assert len(upper) == len(lower) == 1 and upper != lower, "coordinates spread most from top to bottom"


@pytest.mark.parametrize("clusters", [1, 30])
@pytest.mark.parametrize("method", [KMeansMethod, SpectralMethod])
def test_equal_tokens_and_more_clusters_than_tokens(method, clusters):
    found = tubes(method(clusters=clusters), ToyVideo(torch.ones(2, 6, 4), 2, 3))
    assert found.shape == (2, 2, 3)
    if method is KMeansMethod or clusters == 1:
        assert len(found.unique()) == 1


@pytest.mark.parametrize(("background", "expected"), [(True, 3), (False, 2)])
def test_a_known_number_of_objects(background, expected):
    method = SpectralMethod(clusters=7, background=background).knowing(2)
    found = tubes(method, toy())
    assert [len(frame.unique()) for frame in found] == [expected] * 3


def test_one_and_the_centre():
    video = toy(2)
    assert (tubes(OneMethod(), video) == 0).all()
    inside = torch.zeros(ROWS, COLUMNS, dtype=torch.int64)
    inside[1:3, 1:5] = 1  # centres of patches 1 to 4 of 6 lie within 0.25 .. 0.75
    assert (tubes(CentreBoxMethod(), video) == inside).all()
    assert (tubes(CentreBoxMethod(share=1.0), video) == 1).all()
    assert video.reads == [], "no features are needed"


@pytest.mark.parametrize(("clusters", "sizes"), [(1, [24]), (2, [12] * 2), (4, [6] * 4), (6, [4] * 6)])
def test_blocks_are_equal_rectangles(clusters, sizes):
    found = tubes(BlocksMethod(clusters=clusters), toy(2))[0]
    assert found.flatten().bincount().tolist() == sizes
    for number in found.unique():
        y, x = (found == number).nonzero(as_tuple=True)
        assert (y.max() - y.min() + 1) * (x.max() - x.min() + 1) == len(y)


@pytest.mark.parametrize("clusters", [5, 7, 8, 24, 100])
def test_any_number_of_blocks(clusters):
    found = tubes(BlocksMethod(clusters=clusters), toy(1))
    assert len(found.unique()) == min(clusters, 24)


def test_clusters_that_a_frame_lacks_are_inactive():
    found = from_labels(np.array([[0, 0, 2, 2], [1, 1, 1, 2]]), 2, 2)
    assert found.active.tolist() == [[True, False, True], [False, True, True]]
    assert found.identity.tolist() == [[0, -1, 2], [-1, 1, 2]]
    assert found.masks["cluster"][1, 1].tolist() == [[1, 1], [1, 0]]


def test_training_is_refused():
    made = KMeansMethod().implement()
    for call in (lambda: made.schedule("x", 0, 1), lambda: made.model("x", None, {})):
        with pytest.raises(ValueError, match="method kmeans has nothing to train"):
            call()
