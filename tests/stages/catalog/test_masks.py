"""Mask images; the modes and both readings of 255 are tested with DAVIS in `test_davis`."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from stages.catalog.masks import mask_box, read_ids


def test_from_memory():
    values = np.array([[0, 3], [255, 254]], np.uint8)
    file = BytesIO()
    Image.fromarray(values).save(file, "PNG")
    ids, void = read_ids(file, "x.png", binary=False)
    assert ids.tolist() == [[0, 3], [0, 254]] and void.tolist() == [[False, False], [True, False]]
    ids, void = read_ids(file, "x.png", binary=True)
    assert ids.tolist() == [[0, 1], [1, 1]] and not void.any()


def test_messages_carry_the_name_given():
    file = BytesIO()
    Image.fromarray(np.full((2, 2, 3), 9, np.uint8)).save(file, "PNG")
    with pytest.raises(ValueError, match=r"^a/x\.png: #090909"):
        read_ids(file, "a/x.png", binary=False)
    with pytest.raises(OSError):
        read_ids(BytesIO(b"none"), "a/x.png", binary=False)


def test_boxes_end_with_the_last_pixel():
    mask = np.zeros((5, 7), bool)
    assert mask_box(mask) is None
    mask[3, 2] = True
    assert mask_box(mask) == (2, 3, 2, 3)
    mask[1, 6] = True
    assert mask_box(mask) == (2, 1, 6, 3)
