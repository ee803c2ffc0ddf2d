"""Masks in three forms, against pycocotools and by hand."""

import numpy as np
import pytest
from pycocotools import mask as coco

from stages.catalog.rle import decode_mask
from tests.layouts import box_polygon, compressed, run_lengths


def blobs(seed, size):
    rng = np.random.default_rng(seed)
    coarse = rng.random((size[0] // 4 + 1, size[1] // 4 + 1)) < 0.4
    return np.kron(coarse, np.ones((4, 4), bool))[: size[0], : size[1]]


def test_by_hand():
    runs = {"size": [2, 3], "counts": [1, 2, 1, 1, 1]}  # down the columns: 0 1 | 1 0 | 1 0
    assert decode_mask(runs, (2, 3)).tolist() == [[False, True, True], [True, False, False]]
    assert decode_mask({"size": [2, 2], "counts": [0, 4]}, (2, 2)).all()
    assert not decode_mask({"size": [2, 2], "counts": [4]}, (2, 2)).any()
    assert not decode_mask([], (2, 2)).any()


@pytest.mark.parametrize("seed", range(6))
def test_as_pycocotools_reads_them(seed):
    size = [(30, 41), (120, 97), (7, 300)][seed % 3]
    mask = blobs(seed, size) if seed < 5 else np.random.default_rng(5).random(size) < 0.5
    runs, text = run_lengths(mask), compressed(mask)
    assert np.array_equal(decode_mask(runs, size), mask)
    assert np.array_equal(decode_mask(text, size), coco.decode({**text, "counts": text["counts"].encode()}))
    assert np.array_equal(decode_mask({**text, "counts": text["counts"].encode()}, size), mask)
    uncompressed = coco.decode(coco.frPyObjects(runs, *size))
    assert np.array_equal(decode_mask(runs, size), uncompressed)


def test_polygons():
    mask = np.zeros((20, 30), bool)
    mask[3:9, 5:17] = True
    assert np.array_equal(decode_mask(box_polygon(mask), mask.shape), mask)
    other = np.roll(mask, (9, 10), (0, 1))
    both = [*box_polygon(mask), *box_polygon(other)]
    assert np.array_equal(decode_mask(both, mask.shape), mask | other)
    assert decode_mask([[-4.0, -4, 40, -4, 40, 24, -4, 24]], mask.shape).all()  # beyond the frame's edge


@pytest.mark.parametrize(
    ("mask", "says"),
    [
        ({"size": [2, 3], "counts": [1, 2]}, "don't add up to its 2 x 3"),
        ({"size": [2, 3], "counts": [-1, 7]}, "don't add up"),
        ({"size": [2, 3], "counts": [[6]]}, "not whole numbers"),
        ({"size": [2, 3], "counts": [1.5, 4.5]}, "not whole numbers"),
        ({"size": [2, 3], "counts": [10**30]}, "don't add up"),
        ({"size": [2, 3], "counts": "o" * 20 + "0"}, "don't add up"),
        ({"size": [2, 3], "counts": None}, "run lengths of a mask can't be of type NoneType"),
        ({"size": 6, "counts": [6]}, "has 6 pixels, the frames have 2 x 3"),
        ({"size": [3, 2], "counts": [6]}, "has 3 x 2 pixels, the frames have 2 x 3"),
        ({"counts": [6]}, "no key 'size'"),
        ({"size": [2, 3]}, "no key 'counts'"),
        ({"size": [2, 3], "counts": "\x01"}, "a character that can't be there"),
        ({"size": [2, 3], "counts": "P"}, "end within a number"),
        ({"size": [2, 3], "counts": "9"}, "don't add up"),
        ("runs", "of type str"),
        (7, "of type int"),
        ([[0, 0, 1, 1]], "three points"),
        ([[0, 0, 1, 1, 2, "x"]], "no list of numbers"),
        ([[0, 0, 1e9, 1, 2, 2]], "far outside"),
        ([[0, 0, float("nan"), 1, 2, 2]], "no number"),
    ],
)
def test_broken_masks(mask, says):
    with pytest.raises(ValueError, match=says):
        decode_mask(mask, (2, 3))
