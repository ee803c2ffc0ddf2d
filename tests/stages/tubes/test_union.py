"""Tubes united: pixels, boxes, scores and slot vectors."""

from __future__ import annotations

import numpy as np
from pycocotools import mask as coco

from stages.tubes.union import united
from stages.tubes.writer import TubeFrame

SIZE = (4, 6)


def frame(tube: int, position: int, pixels: list[tuple[int, int]], score: float) -> TubeFrame:
    mask = np.zeros(SIZE, np.uint8, order="F")
    for y, x in pixels:
        mask[y, x] = 1
    run = coco.encode(mask)
    box = tuple(int(side) for side in coco.toBbox(run))
    return TubeFrame(tube, position, run["counts"].decode(), box, len(pixels), score)


FOUND = [
    frame(0, 0, [(0, 0), (0, 1), (1, 0)], 0.9),
    frame(0, 1, [(0, 0)], 0.5),
    frame(3, 0, [(3, 5)], 0.1),
    frame(7, 0, [(2, 2), (2, 3)], 0.7),
]
SLOTS = {0: np.array([1.0, 0.0]), 3: np.array([0.0, 4.0]), 7: np.array([5.0, 5.0])}


def test_a_united_tube_has_the_pixels_of_all() -> None:
    frames, slots = united(FOUND, SLOTS, [[0, 3], [7]], SIZE)
    assert [(f.tube, f.position, f.area, f.box) for f in frames] == [
        (0, 0, 4, (0, 0, 6, 4)), (0, 1, 1, (0, 0, 1, 1)), (1, 0, 2, (2, 2, 2, 1)),
    ]  # fmt: skip
    mask = coco.decode({"size": list(SIZE), "counts": frames[0].rle.encode()})
    assert set(zip(*np.nonzero(mask), strict=True)) == {(0, 0), (0, 1), (1, 0), (3, 5)}
    np.testing.assert_allclose([f.score for f in frames], [(3 * 0.9 + 0.1) / 4, 0.5, 0.7])
    assert slots is not None
    np.testing.assert_allclose(slots[0], [4 / 5, 4 / 5])  # four pixels of one, one of the other
    np.testing.assert_array_equal(slots[1], SLOTS[7])


def test_alone_nothing_changes_but_the_number() -> None:
    frames, slots = united(FOUND, None, [[7], [3], [0]], SIZE)
    assert slots is None
    assert [(f.tube, f.rle) for f in frames] == [
        (0, FOUND[3].rle), (1, FOUND[2].rle), (2, FOUND[0].rle), (2, FOUND[1].rle)
    ]  # fmt: skip
