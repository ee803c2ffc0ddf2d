"""Boxes of masks: by hand, and against torch's upsampling."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from stages.labeling.boxes import boxes, tube_boxes, upsample

masks = arrays.arrays(bool, st.tuples(*(st.integers(1, most) for most in (2, 3, 4, 5))))


def test_by_hand():
    """A patch in row 1, column 2 of a 3 x 4 grid is rows 16..31, columns 32..47 at 16 pixels a patch."""
    found = np.zeros((2, 2, 3, 4), bool)
    found[0, 0, 1, 2] = True
    found[1, 1, 0, 0] = found[1, 1, 2, 3] = True
    expected = [[[32, 16, 47, 31], [0, 0, 0, 0]], [[0, 0, 0, 0], [0, 0, 63, 47]]]
    assert boxes(found, (48, 64)).tolist() == expected
    assert tube_boxes(found, (48, 64)) == [[(32, 16, 47, 31), None], [None, (0, 0, 63, 47)]]


def test_an_absent_mask_is_told_from_one_pixel():
    found = np.zeros((2, 1, 2, 2), bool)
    found[0, 0, 0, 0] = True
    assert boxes(found, (2, 2)).tolist() == [[[0, 0, 0, 0], [0, 0, 0, 0]]]
    assert tube_boxes(found, (2, 2)) == [[(0, 0, 0, 0)], [None]]


def test_other_sizes():
    """Five pixels over two patches: centres .2 .6 | 1.0 1.4 1.8 patches; the middle one is the second's."""
    assert upsample(np.array([[1, 2]]), (1, 5)).tolist() == [[1, 1, 2, 2, 2]]
    assert upsample(np.array([[1], [2]]), (1, 1)).tolist() == [[2]]
    gone = np.array([[[[True], [False]]]])
    assert tube_boxes(gone, (1, 1)) == [[None]]


@settings(max_examples=60, deadline=None)
@given(masks, st.sampled_from([1, 2, 3, 7, 16]))
def test_like_nearest_exact_of_torch(found, scale):
    size = found.shape[2] * scale, found.shape[3] * scale
    large = torch.nn.functional.interpolate(torch.from_numpy(found).float(), size, mode="nearest-exact") > 0
    assert (upsample(found, size) == large.numpy()).all()
    for number, row in enumerate(tube_boxes(found, size)):
        for t, box in enumerate(row):
            y, x = large[number, t].nonzero(as_tuple=True)
            assert box == (None if not len(x) else (x.min(), y.min(), x.max(), y.max()))
            assert tuple(boxes(found, size)[t, number]) == (box or (0, 0, 0, 0))
