"""Touching frame by frame gives what touching in one lattice gives."""

from __future__ import annotations

import numpy as np
import pytest
from pycocotools import mask as coco

from stages.labeling.merging import touching
from stages.labeling.touching import touching_tubes, tubes_by_clip

GRID, FRAMES, NUMBERS = (5, 6), [3, 4, 7, 9, 12, 13], [2, 5, 6, 11]
LAYOUT = ((12, 14), (1, 1, 2, 0), GRID)


@pytest.fixture(scope="module")
def masks() -> np.ndarray:
    """bool (M, T, h, w): sparse, disjoint patches; the third tube is absent from half of the frames."""
    draws = np.random.default_rng(1).integers(0, 14, (len(FRAMES), *GRID))
    found = np.stack([draws == m for m in range(len(NUMBERS))])
    found[2, 3:] = False
    return found


def rows_of(masks: np.ndarray) -> dict[int, list[dict[str, object]]]:
    """Rows as tubes have them: whole pixels of an upright frame with borders."""
    (height, width), (top, _, left, _), _ = LAYOUT
    found: dict[int, list[dict[str, object]]] = {}
    for t, frame in enumerate(FRAMES):
        for m, tube in enumerate(NUMBERS):
            if masks[m, t].any():
                pixels = np.zeros((height, width), np.uint8, order="F")
                pixels[top : top + 10, left:] = masks[m, t].repeat(2, axis=0).repeat(2, axis=1)
                rle = coco.encode(pixels)["counts"].decode()
                found.setdefault(frame, []).append({"tube": tube, "rle": rle})
    return found


@pytest.mark.parametrize("adjacency", ["spatiotemporal", "spatial"])
def test_it_is_what_one_lattice_says(masks: np.ndarray, adjacency: str) -> None:
    found = touching_tubes(FRAMES, rows_of(masks), NUMBERS, LAYOUT, adjacency, 0)
    np.testing.assert_array_equal(found, touching(masks, adjacency))
    assert 0 < found.sum() < found.size


def test_nothing_touches_across_clips(masks: np.ndarray) -> None:
    found = touching_tubes(FRAMES, rows_of(masks), NUMBERS, LAYOUT, "spatiotemporal", 2)
    each = [touching(masks[:, t : t + 2]) for t in (0, 2, 4)]
    np.testing.assert_array_equal(found, np.any(each, axis=0))


def test_a_tube_is_in_every_clip_through_which_it_goes() -> None:
    """A fitting tube that comes from the clip before keeps ``label.keep_one`` from naming another one."""
    rows = {3: [{"tube": 5}], 7: [{"tube": 2}, {"tube": 5}], 13: [{"tube": 6}]}
    assert list(tubes_by_clip(FRAMES, rows, NUMBERS, 2)) == [[1], [0, 1], [2]]
    assert list(tubes_by_clip(FRAMES, rows, NUMBERS, 0)) == [[0, 1, 2]]
    assert list(tubes_by_clip(FRAMES, {12: [{"tube": 11}]}, NUMBERS, 2)) == [[3]]
