"""Intersection over union of objects and tubes, per frame and video (methods sheet sections 8.1, 8.2)."""

from __future__ import annotations

from typing import Literal

import numpy as np

from stages.metrics.confusion import Confusion
from stages.metrics.matching import assigned

Matching = Literal["best", "hungarian"]
"""``best``: every object takes the tube that overlaps it most (mBO). ``hungarian``: one to one (mIoU)."""


def frame_iou(found: Confusion) -> np.ndarray:
    """IoU of every object and tube in every frame, float64 (T, G, K); NaN where neither is in the frame."""
    shared = found.intersections.astype(np.float64)
    union = found.truth_areas[:, :, None] + found.tube_areas[:, None, :] - shared
    return np.divide(shared, union, out=np.full_like(shared, np.nan), where=union > 0)


def pair_iou(found: Confusion) -> np.ndarray:
    """Mean frame IoU over the frames that show the object or the tube, float64 (G, K).

    A frame that shows only one of them counts 0, a frame that shows neither does not count. The definition of
    SOLV's evaluator.
    """
    iou = frame_iou(found)
    there = ~np.isnan(iou)
    frames = there.sum(axis=0)
    total = np.where(there, iou, 0.0).sum(axis=0)
    return np.divide(total, frames, out=np.zeros_like(total), where=frames > 0)


def video_iou(found: Confusion) -> np.ndarray:
    """IoU of object and tube as volumes, pixels pooled over all frames, float64 (G, K)."""
    shared = found.intersections.sum(axis=0).astype(np.float64)
    union = found.truth_areas.sum(axis=0)[:, None] + found.tube_areas.sum(axis=0)[None, :] - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def choose(iou: np.ndarray, matching: Matching) -> np.ndarray:
    """The IoU that each object gets, float64 (G,), from ``iou`` (G, K); 0 where no tube is left for it."""
    if matching == "hungarian":
        return assigned(iou.T)
    return iou.max(axis=1, initial=0.0)


def per_object(found: Confusion, matching: Matching) -> np.ndarray:
    """The IoU of each object's volume with the tube chosen for the whole video, float64 (G,)."""
    return choose(video_iou(found), matching)


def per_frame(found: Confusion, matching: Matching, absent: Literal["skip", "zero"] = "skip") -> np.ndarray:
    """Mean IoU of a frame's objects, tubes chosen in each frame anew, float64 (T,); NaN without an object.

    Args:
        found: the video.
        matching: how tubes are chosen.
        absent: whether an object id below the highest one in the frame that is not there is left out, or
            counts 0 as in VOL's adapted copy of the metric.
    """
    iou, areas = np.nan_to_num(frame_iou(found)), found.truth_areas
    means = np.full(len(iou), np.nan)
    for t in range(len(iou)):
        present = np.flatnonzero(areas[t])
        if len(present):
            counted = len(present) if absent == "skip" else found.objects[present[-1]]
            means[t] = choose(iou[t, present], matching).sum() / counted
    return means
