"""How many objects some found box covers, whatever it is called: CorLoc and DecRate (sheet 1.6).

An object is covered if a found box, possibly one that covers another object too, overlaps it by more than
half. Frames without an annotated object don't count.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from stages.metrics.boxes import BoxFrame, box_iou

LEAST = 0.5
"""The IoU that has to be exceeded."""


def covered(frame: BoxFrame) -> np.ndarray:
    """Which of a frame's objects are covered, bool (G,); areas are continuous, nothing is added to sides."""
    best: np.ndarray = box_iou(frame.boxes, frame.truth).max(axis=0, initial=0.0)
    return best > LEAST


def localised_frames(frames: Iterable[BoxFrame]) -> np.ndarray:
    """For every frame with an object 1 if at least one is covered, else 0; float64. Their mean is CorLoc."""
    return np.array([covered(frame).any() for frame in frames if len(frame.truth)], np.float64)


def detection_rates(frames: Iterable[BoxFrame]) -> np.ndarray:
    """For every frame with an object the share of its objects that are covered, float64. Their mean is
    DecRate as VOL's code computes it."""
    return np.array([covered(frame).mean() for frame in frames if len(frame.truth)], np.float64)


def detected_objects(frames: Iterable[BoxFrame]) -> np.ndarray:
    """For every object in every frame 1 if it is covered, else 0; float64. Their mean is DecRate as VOL's
    paper defines it."""
    return np.concatenate([np.zeros(0), *(covered(frame).astype(np.float64) for frame in frames)])
