"""Boxes of a frame, found and annotated, and their overlap under one of three conventions (sheet 1.6).

Boxes are (x1, y1, x2, y2) in pixels. Where the last pixel inside is at x2, a box is ``x2 - x1 + 1`` wide, and
evaluators differ in whether they add that pixel: `CONTINUOUS` does not, `INCLUSIVE` does, and `TWICE` adds
it two times over, as VOL's average precision does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

CONTINUOUS, INCLUSIVE, TWICE = 0.0, 1.0, 2.0
"""Pixels added to both sides of every box before areas are compared."""


@dataclass(frozen=True)
class BoxFrame:
    """One frame with G annotated and M found boxes; arrays are converted on the way in.

    Attributes:
        truth: float64 (G, 4), annotated boxes in pixels.
        truth_classes: int64 (G,), their classes, columns of ``scores``.
        boxes: float64 (M, 4), what was found, each once. (0, 0, 0, 0) is a mask without a pixel in this
            frame, which VOL reports all the same.
        scores: float64 (M, C), column c is how sure it is that the box is a c; NaN where that is not claimed
            (an unnamed box has NaN throughout). VOL claims every class for every box.

    Raises:
        ValueError: arrays that don't fit together, a box that ends before it begins, a coordinate that is no
            number, an infinite score, a class below 0.
    """

    truth: np.ndarray
    truth_classes: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray

    def __post_init__(self) -> None:
        for name in ("truth", "boxes"):
            object.__setattr__(self, name, _boxes(name, getattr(self, name)))
        classes, scores = np.asarray(self.truth_classes), np.asarray(self.scores, np.float64)
        if classes.shape != (len(self.truth),):
            raise ValueError(f"there are {len(self.truth)} annotated boxes and classes of {classes.shape}")
        if classes.size and (not np.issubdtype(classes.dtype, np.integer) or classes.min() < 0):
            raise ValueError("classes of annotated boxes must be whole numbers from 0 on")
        if scores.ndim != 2 or len(scores) != len(self.boxes):
            raise ValueError(f"scores are {scores.shape}, must be ({len(self.boxes)} boxes, classes)")
        if np.isinf(scores).any():
            raise ValueError("a score is infinite, by which boxes can't be ranked")
        object.__setattr__(self, "truth_classes", classes.astype(np.int64))
        object.__setattr__(self, "scores", scores)

    @property
    def present(self) -> np.ndarray:
        """Which found boxes are more than the (0, 0, 0, 0) of an absent mask, bool (M,)."""
        there: np.ndarray = np.any(self.boxes, axis=1)
        return there


def _boxes(name: str, given: Any) -> np.ndarray:
    boxes = np.asarray(given, np.float64)
    if boxes.size == 0:
        return np.zeros((0, 4))
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ValueError(f"{name} is {boxes.shape}, must be (boxes, 4)")
    if not np.isfinite(boxes).all():
        raise ValueError(f"a coordinate in {name} is no finite number")
    if (boxes[:, 2:] < boxes[:, :2]).any():
        raise ValueError(f"a box in {name} ends before it begins: boxes are (x1, y1, x2, y2)")
    return boxes


def areas(boxes: np.ndarray, extra: float = CONTINUOUS) -> np.ndarray:
    """Areas of boxes (n, 4), float64 (n,), with ``extra`` pixels on each side."""
    sides: np.ndarray = boxes[:, 2:] - boxes[:, :2] + extra
    return sides.prod(axis=1)


def intersections(first: np.ndarray, second: np.ndarray, extra: float = CONTINUOUS) -> np.ndarray:
    """What boxes (n, 4) and (m, 4) share, float64 (n, m), with ``extra`` pixels on each side."""
    start = np.maximum(first[:, None, :2], second[None, :, :2])
    stop = np.minimum(first[:, None, 2:], second[None, :, 2:])
    return np.maximum(stop - start + extra, 0.0).prod(axis=2)


def box_iou(first: np.ndarray, second: np.ndarray, extra: float = CONTINUOUS) -> np.ndarray:
    """Intersection over union of boxes (n, 4) and (m, 4), float64 (n, m); 0 for two boxes without area."""
    shared = intersections(first, second, extra)
    union = areas(first, extra)[:, None] + areas(second, extra)[None, :] - shared
    return share(shared, union)


def share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """``part / whole``, 0 where the whole is 0."""
    whole = np.broadcast_to(whole, part.shape)
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)
