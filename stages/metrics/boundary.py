"""Boundary measure F and region similarity J of DAVIS, for pairs of masks (methods sheet section 8.4).

Everything is done in boxes around the masks: a mask of a twentieth of the frame costs about that much, and
memory is a few frames, whatever the number of proposals.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

TOLERANCE = 0.008
"""Of the frame's diagonal: how far apart two boundaries may be."""


def radius(height: int, width: int) -> int:
    """The tolerance in pixels for a frame of that size."""
    return math.ceil(TOLERANCE * math.hypot(height, width))


def boundary(mask: np.ndarray) -> np.ndarray:
    """Pixels of ``mask`` (H, W) that differ from their right, lower or lower-right neighbour, bool (H, W).

    In the last row only the right neighbour counts, in the last column only the lower one; the last pixel of
    all is never on a boundary.
    """
    edge = np.zeros(mask.shape, bool)
    edge[:, :-1] |= mask[:, :-1] ^ mask[:, 1:]
    edge[:-1] |= mask[:-1] ^ mask[1:]
    edge[:-1, :-1] |= mask[:-1, :-1] ^ mask[1:, 1:]
    return edge


def f_measure(prediction: np.ndarray, truth: np.ndarray, void: np.ndarray | None = None) -> float:
    """Boundary F of two masks, bool (H, W). Void pixels belong to neither mask."""
    return float(compare([prediction], [truth], void)[1][0, 0])


def j_measure(prediction: np.ndarray, truth: np.ndarray, void: np.ndarray | None = None) -> float:
    """IoU of two masks, bool (H, W), outside of void; 1 where both are empty."""
    return float(compare([prediction], [truth], void, with_f=False)[0][0, 0])


def compare(
    predictions: Iterable[np.ndarray],
    truths: Iterable[np.ndarray],
    void: np.ndarray | None = None,
    with_f: bool = True,
) -> tuple[np.ndarray, np.ndarray]:
    """J and F of every pair of masks of one frame, float64 (K, G) each; F is empty zeros without ``with_f``.

    Args:
        predictions: K masks, bool (H, W), taken one at a time; they may overlap.
        truths: G masks, bool (H, W).
        void: bool (H, W), set to background in all of them beforehand.
        with_f: whether boundaries are compared, which takes nearly all the time.
    """
    objects = [_Shape.of(mask, void, with_f) for mask in truths]
    j: list[list[float]] = []
    f: list[list[float]] = []
    for mask in predictions:
        shape = _Shape.of(mask, void, with_f)
        j.append([shape.j(other) for other in objects])
        f.append([shape.f(other) if with_f else 0.0 for other in objects])
    size = (len(j), len(objects))
    return np.array(j, np.float64).reshape(size), np.array(f, np.float64).reshape(size)


Box = tuple[int, int, int, int]
"""Top, bottom, left, right; bottom and right are outside."""


@dataclass(frozen=True)
class _Shape:
    """A mask in its box, its boundary pixels (y, x of the frame) and the dilated boundary in another box."""

    area: int
    mask: np.ndarray
    box: Box
    rows: np.ndarray
    columns: np.ndarray
    near: np.ndarray
    near_box: Box

    @classmethod
    def of(cls, mask: np.ndarray, void: np.ndarray | None, with_f: bool) -> _Shape:
        box = _box(mask)
        part = _cut(mask, box)
        if void is not None:
            part = part & ~_cut(void, box)
        nothing = np.zeros(0, np.int64)
        if not with_f or not part.any():
            return cls(int(np.count_nonzero(part)), part, box, nothing, nothing, np.zeros((0, 0), bool), box)
        top, bottom, left, right = box
        # A boundary lies in the mask or directly above or left of it; a margin all around holds it, and makes
        # the box's last row and column either empty or the frame's own.
        held = _grow(box, 1, mask.shape)
        framed = np.zeros((held[1] - held[0], held[3] - held[2]), bool)
        framed[top - held[0] : bottom - held[0], left - held[2] : right - held[2]] = part
        rows, columns = np.nonzero(boundary(framed))
        rows, columns = rows + held[0], columns + held[2]
        reach = radius(*mask.shape)
        near_box = _grow(held, reach, mask.shape)
        line = np.zeros((near_box[1] - near_box[0], near_box[3] - near_box[2]), np.uint8)
        line[rows - near_box[0], columns - near_box[2]] = 1
        return cls(int(np.count_nonzero(part)), part, box, rows, columns, _dilated(line, reach), near_box)

    def j(self, other: _Shape) -> float:
        """Region similarity with ``other``."""
        box = _meet(self.box, other.box)
        shared = np.count_nonzero(_local(self.mask, self.box, box) & _local(other.mask, other.box, box))
        union = self.area + other.area - shared
        return shared / union if union else 1.0

    def f(self, other: _Shape) -> float:
        """Boundary measure, this one being the prediction and ``other`` the object."""
        if not len(self.rows) or not len(other.rows):
            # Of P and R one is 1 and the other 0 unless neither has a boundary.
            return 1.0 if len(self.rows) == len(other.rows) else 0.0
        precision = other.holds(self) / len(self.rows)
        recall = self.holds(other) / len(other.rows)
        return 2 * precision * recall / (precision + recall) if precision + recall else 0.0

    def holds(self, other: _Shape) -> int:
        """How many boundary pixels of ``other`` are near this one's boundary."""
        top, bottom, left, right = self.near_box
        y, x = other.rows, other.columns
        inside = (y >= top) & (y < bottom) & (x >= left) & (x < right)
        return int(np.count_nonzero(self.near[y[inside] - top, x[inside] - left]))


def _dilated(line: np.ndarray, reach: int) -> np.ndarray:
    """Pixels within ``reach`` of a set one, bool; ``line`` is uint8."""
    import cv2

    y, x = np.ogrid[-reach : reach + 1, -reach : reach + 1]
    disk = (y * y + x * x <= reach * reach).astype(np.uint8)
    return np.asarray(cv2.dilate(line, disk)).astype(bool)


def _box(mask: np.ndarray) -> Box:
    rows = np.flatnonzero(mask.any(axis=1))
    if not len(rows):
        return (0, 0, 0, 0)
    columns = np.flatnonzero(mask[rows[0] : rows[-1] + 1].any(axis=0))
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1


def _grow(box: Box, by: int, size: tuple[int, ...]) -> Box:
    top, bottom, left, right = box
    return max(top - by, 0), min(bottom + by, size[0]), max(left - by, 0), min(right + by, size[1])


def _meet(one: Box, other: Box) -> Box:
    top, left = max(one[0], other[0]), max(one[2], other[2])
    return top, max(min(one[1], other[1]), top), left, max(min(one[3], other[3]), left)


def _cut(mask: np.ndarray, box: Box) -> np.ndarray:
    return mask[box[0] : box[1], box[2] : box[3]]


def _local(mask: np.ndarray, origin: Box, box: Box) -> np.ndarray:
    """The part of ``mask``, which lies in ``origin``, inside ``box``."""
    return _cut(mask, (box[0] - origin[0], box[1] - origin[0], box[2] - origin[2], box[3] - origin[2]))
