import numpy as np
import pytest
from hypothesis import given, settings

from stages.metrics.slot_types import GROUND, GROUP, PART, SINGLE, slot_types
from tests.stages.metrics.making_boxes import SEEDS, frame, random_frames, shuffled

A, B = (0, 0, 10, 10), (20, 0, 30, 10)


@pytest.mark.parametrize(
    "box, literal, strict",
    [
        ((0, 0, 10, 8), SINGLE, SINGLE),  # IoU 0.8 with A
        ((0, 0, 4, 4), PART, PART),  # all of it in A, 0.16 of A in it
        ((0, 0, 30, 10), GROUP, GROUP),  # all of A and B in it; A fills a third
        ((12, 0, 18, 10), GROUND, GROUND),
        ((5, 0, 15, 10), GROUND, GROUND),  # half of A in it, half of it in A: neither is more than half
        ((-20, -20, 12, 30), SINGLE, GROUND),  # around A alone, IoU 100/1600
        ((0, 0, 6, 10), SINGLE, SINGLE),  # 0.6 of A in it, IoU 0.6
        ((3, 0, 16, 10), SINGLE, PART),  # 7 of A's 10 columns, IoU 7/16; 7 of its 13 columns lie in A
    ],
)
def test_by_hand(box, literal, strict):
    assert slot_types([frame([A, B], [box])]).tolist() == [literal]
    assert slot_types([frame([A, B], [box])], strict=True).tolist() == [strict]


def test_a_part_goes_before_a_group():
    """The box holds both small objects and lies in a large one that it fills by 16 %."""
    video = [frame([A, B, (0, 0, 100, 100)], [(0, 0, 40, 40)])]
    assert slot_types(video).tolist() == slot_types(video, strict=True).tolist() == [PART]


def test_what_is_counted():
    """Boxes in frames without objects are background; absent masks are no boxes."""
    video = [frame([], [A, (0, 0, 0, 0)]), frame([A], []), frame([A, B], [B, (0, 0, 0, 0)])]
    assert slot_types(video).tolist() == [GROUND, SINGLE]
    assert slot_types([]).shape == (0,)


@settings(max_examples=25, deadline=None)
@given(SEEDS)
def test_order_does_not_matter_and_strict_has_fewer_singles(seed):
    video = random_frames(seed, count=5)
    for strict in (False, True):
        found, other = (slot_types(v, strict) for v in (video, shuffled(video, seed, frames=True)))
        assert np.bincount(found, minlength=4).tolist() == np.bincount(other, minlength=4).tolist()
    literal, strict = slot_types(video), slot_types(video, strict=True)
    assert np.array_equal(literal == SINGLE, (literal == SINGLE) | (strict == SINGLE))
