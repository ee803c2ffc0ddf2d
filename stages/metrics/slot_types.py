"""What found boxes hold: a single object, a part of one, a group, or background (VOL's paper, sheet 1.6)."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from stages.metrics.boxes import BoxFrame, areas, box_iou, intersections, share

SINGLE, PART, GROUP, GROUND = range(4)
"""The types: one object (SO), part of an object (PO), group of objects (GO), background (BG)."""
LEAST = 0.5
"""What an overlap (tau 1) or a share of a box (tau 2) has to exceed."""


def slot_types(frames: Iterable[BoxFrame], strict: bool = False) -> np.ndarray:
    """The type of every found box of every frame, int64 (boxes,). Absent masks (0, 0, 0, 0) are no boxes.

    SINGLE if the IoU with some object is above 1/2 or more than half of exactly one object lies inside; else
    PART if more than half of the box lies inside some object; else GROUP if more than half of two objects or
    more lies inside; else GROUND, so in frames without objects too. Areas are continuous.

    Args:
        frames: with found boxes in the order of the result.
        strict: SINGLE by IoU alone. Else a box around the whole frame is a single object wherever there is
            just one.
    """
    return np.concatenate([np.zeros(0, np.int64), *(_of_frame(frame, strict) for frame in frames)])


def _of_frame(frame: BoxFrame, strict: bool) -> np.ndarray:
    boxes = frame.boxes[frame.present]
    shared = intersections(boxes, frame.truth)
    inside = (share(shared, areas(frame.truth)[None, :]) > LEAST).sum(axis=1)
    filled = (share(shared, areas(boxes)[:, None]) > LEAST).any(axis=1)
    single = (box_iou(boxes, frame.truth) > LEAST).any(axis=1)
    if not strict:
        single |= inside == 1
    return np.select([single, filled, inside >= 2], [SINGLE, PART, GROUP], GROUND).astype(np.int64)
