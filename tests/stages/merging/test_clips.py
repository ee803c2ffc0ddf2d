"""Linking clips, on slots and masks whose partners are plain to see."""

import numpy as np
import pytest

from stages.merging.clips import link_clips, overlap

EYE = np.eye(4)


def masks(*rows: str) -> np.ndarray:
    return np.array([[letter == "#" for letter in row] for row in rows])


def test_overlap():
    first = masks("##..", "....", "####")
    second = masks("##..", ".##.", "....")
    expected = [[1, 1 / 3, 0], [0, 0, 0], [0.5, 0.5, 0]]
    assert overlap(first, second) == pytest.approx(np.array(expected))


def test_permuted_slots_are_found_again():
    order = [2, 0, 3, 1]
    there = masks("#...", ".#..", "..#.", "...#")
    found = link_clips((EYE, there), (EYE[order], there[order]), 0.9)
    assert found.tolist() == order


def test_place_decides_between_slots_that_look_alike_and_looks_between_slots_in_one_place():
    alike = np.ones((2, 3))
    there = masks("##..", "..##")
    assert link_clips((alike, there), (alike, there[::-1]), 0.5).tolist() == [1, 0]
    gone = masks("....", "....")
    assert link_clips((EYE[:2], gone), (EYE[[1, 0]], gone), 0.49).tolist() == [1, 0]


@pytest.mark.parametrize(("threshold", "partner"), [(0.5, [0]), (0.5001, [-1])])
def test_the_number_that_is_compared_is_the_mean_of_both(threshold, partner):
    """Orthogonal vectors in the very same place: (0 + 1) / 2."""
    there = masks("##..")
    assert link_clips((EYE[:1], there), (EYE[1:2], there), threshold).tolist() == partner


def test_the_total_counts_and_not_the_best_pair():
    """Greedily slot 0 would go on with 0 (0.8) and leave 1 with nothing (0.05): 0.6 and 0.5 are more."""
    cosines = np.array([[0.8, 0.6], [0.5, 0.05]])
    before = np.concatenate([cosines, np.diag(np.sqrt(1 - (cosines**2).sum(1).clip(max=1)))], axis=1)
    after = np.eye(2, 4)
    none = masks("....", "....")
    assert link_clips((before, none), (after, none), 0.2).tolist() == [1, 0]


def test_uneven_numbers_leave_some_alone():
    there = masks("#...", ".#..", "..#.")
    assert link_clips((EYE[:1], there[:1]), (EYE[:3], there), 0.5).tolist() == [0, -1, -1]
    assert link_clips((EYE[:3], there), (EYE[2:3], there[2:]), 0.5).tolist() == [2]
