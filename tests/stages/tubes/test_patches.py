"""Masks on the patch grid, from the run lengths of pixels."""

import numpy as np
import pytest
from pycocotools import mask as coco

from stages.catalog.rle import decode_mask
from stages.tubes.labels import frame_masks
from stages.tubes.patches import centres, patch_labels, patch_masks, run_lengths
from tests.stages.tubes.making import random_segmentation

NONE = (0, 0, 0, 0)


def rle(mask: np.ndarray) -> str:
    return coco.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode("ascii")


def test_the_pixel_at_the_centre_decides():
    mask = np.zeros((8, 12), bool)
    mask[2, 6] = True  # holds the centre of patch 0, 1 of a 2 x 2 grid on 4 x 6 pixels each: (2, 9) does
    assert not patch_masks([rle(mask)], (8, 12), NONE, (2, 2)).any()
    mask[2, 9] = True
    assert patch_masks([rle(mask)], (8, 12), NONE, (2, 2)).tolist() == [[[False, True], [False, False]]]


def test_centres_are_of_what_the_borders_leave():
    assert centres(10, (0, 0), 5).tolist() == [1, 3, 5, 7, 9]
    assert centres(14, (3, 1), 5).tolist() == [4, 6, 8, 10, 12]
    assert centres(2, (0, 0), 4).tolist() == [0, 0, 1, 1]
    with pytest.raises(ValueError, match=r"borders of \(5, 5\) leave nothing of 10 pixels"):
        centres(10, (5, 5), 2)


@pytest.mark.parametrize("borders", [NONE, (4, 2, 3, 1)])
def test_masks_come_back_to_the_grid_they_were_made_on(borders):
    """Upsampled to an odd number of pixels per patch, the pixel at its centre is the patch itself."""
    found = random_segmentation(frames=2)
    top, bottom, left, right = borders
    size = (3 * 7 + top + bottom, 5 * 9 + left + right)
    for t, frame in enumerate(frame_masks(found, "decoder", size, borders)):
        winner = found.masks["decoder"][t].argmax(dim=0)
        expected = found.identity[t][winner].numpy()
        rles = [rle(mask.T) for mask in frame.masks]
        small = patch_masks(rles, size, borders, (3, 5))
        assert small.dtype == bool and len(small) > 2
        np.testing.assert_array_equal(small, expected == frame.tubes[:, None, None])
        np.testing.assert_array_equal(patch_labels(frame.tubes, rles, size, borders, (3, 5)), expected)


def test_no_masks():
    assert patch_masks([], (8, 12), NONE, (2, 3)).shape == (0, 2, 3)
    assert (patch_labels([], [], (8, 12), NONE, (2, 3)) == -1).all()


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 1.0])
def test_runs_are_those_of_the_pixels(share):
    """Runs of one pixel and of thousands; differences of either sign."""
    mask = np.random.default_rng(0).random((300, 200)) < share
    runs = run_lengths(rle(mask))
    assert runs.sum() == mask.size
    np.testing.assert_array_equal(
        decode_mask({"size": [300, 200], "counts": runs.tolist()}, (300, 200)), mask
    )
