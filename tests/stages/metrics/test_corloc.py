import numpy as np
import pytest
from hypothesis import given, settings

from stages.metrics.corloc import covered, detected_objects, detection_rates, localised_frames
from tests.stages.metrics.making_boxes import SEEDS, frame, random_frames, shuffled

A, B, C = (0, 0, 10, 10), (20, 0, 30, 10), (40, 0, 50, 10)


def test_by_hand():
    """1 of 3 objects, 1 of 1, a frame without objects that doesn't count, 0 of 1."""
    video = [frame([A, B, C], [A, (5, 5, 25, 8)]), frame([B], [C, B]), frame([], [A]), frame([C], [])]
    assert localised_frames(video).tolist() == [1, 1, 0]
    assert detection_rates(video).tolist() == pytest.approx([1 / 3, 1, 0])
    assert detected_objects(video).tolist() == [1, 0, 0, 1, 0]
    # CorLoc 2/3; DecRate (1/3 + 1 + 0) / 3 = 4/9 over frames, but 2/5 over objects
    assert detection_rates(video).mean() == pytest.approx(4 / 9)
    assert detected_objects(video).mean() == pytest.approx(2 / 5)


def test_half_is_not_enough():
    assert covered(frame([(0, 0, 10, 5)], [A])).tolist() == [False]
    assert covered(frame([(0, 0, 10, 5.01)], [A])).tolist() == [True]


def test_one_box_may_cover_two_objects():
    """IoU 10/11 with both: there is no assignment."""
    assert covered(frame([A, (1, 0, 11, 10)], [(0, 0, 11, 10)])).tolist() == [True, True]


def test_sides_get_no_pixel():
    """4 of 8 columns; with a pixel on each side it would be 5 of 9, which is more than half."""
    truth, box = (0, 0, 8, 9), (0, 0, 4, 9)
    assert covered(frame([truth], [box])).tolist() == [False]


def test_nothing_to_count():
    assert localised_frames([frame([], [A])]).shape == detected_objects([]).shape == (0,)
    assert covered(frame([A], [(0, 0, 0, 0)])).tolist() == [False]


@settings(max_examples=25, deadline=None)
@given(SEEDS)
def test_order_and_names_do_not_matter(seed):
    video = random_frames(seed, count=5)
    other = shuffled(video, seed, frames=True)
    for metric in (localised_frames, detection_rates, detected_objects):
        assert np.allclose(sorted(metric(video)), sorted(metric(other)))
