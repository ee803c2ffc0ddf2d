"""Single-object scores of DAVIS-16, and a choice of the foreground tube that sees no ground truth."""

from __future__ import annotations

import numpy as np

from stages.metrics.confusion import NO_TUBE, Confusion, check, check_maps
from stages.metrics.overlap import frame_iou

SMALLEST = 0.01
"""Share of the video's pixels below which a tube is not taken for the foreground if a larger one exists."""


def tube_areas(prediction: np.ndarray) -> np.ndarray:
    """Pixels of the tubes 0, 1, ..., highest id over all frames, int64 (K,), of a label map (T, H, W)."""
    count = int(prediction.max()) + 1
    areas = np.zeros(count + 1, np.int64)
    for frame in prediction:
        areas += np.bincount(frame.ravel().astype(np.int64) - NO_TUBE, minlength=count + 1)
    return areas[1:]


def border_contact(prediction: np.ndarray) -> np.ndarray:
    """Share of the frames' border pixels that each tube 0, 1, ..., highest id has, float64 (K,).

    The border is the outermost ring of pixels, one wide, of all frames of ``prediction``, int (T, H, W).
    """
    count = int(prediction.max()) + 1
    ring = np.ones(prediction.shape[1:], bool)
    ring[1:-1, 1:-1] = False
    held = np.bincount(prediction[:, ring].ravel().astype(np.int64) - NO_TUBE, minlength=count + 1)[1:]
    return held / (len(prediction) * np.count_nonzero(ring))


def choose_foreground(prediction: np.ndarray) -> int:
    """The tube taken for the foreground in ``j@davis16``, or `NO_TUBE` where the map has none.

    Among the tubes that cover at least `SMALLEST` of the video's pixels (among all, if none does) the one
    with the least `border_contact`; of equal ones the larger, then the one with the lower id.

    Args:
        prediction: tube ids, int (T, H, W), `NO_TUBE` where there is none.

    Raises:
        ValueError: it is something else.
    """
    check_maps("the prediction", prediction, prediction.shape, NO_TUBE)
    areas, contact = tube_areas(prediction), border_contact(prediction)
    candidates = np.flatnonzero(areas >= SMALLEST * prediction.size)
    if not len(candidates):
        candidates = np.flatnonzero(areas)
    return int(min(candidates, key=lambda tube: (contact[tube], -areas[tube], tube), default=NO_TUBE))


def j_davis16(foreground: np.ndarray, truth: np.ndarray, void: np.ndarray | None = None) -> float | None:
    """Mean over frames of the IoU of one binary mask with all objects taken together.

    A frame in which both are empty counts 1. None where no frame shows an object: the video does not count.

    Args:
        foreground: bool (T, H, W).
        truth: object ids, int (T, H, W), 0 background.
        void: bool (T, H, W), pixels that count nowhere.

    Raises:
        ValueError: shapes or types differ from these.
    """
    if foreground.dtype != np.bool_:
        raise ValueError(f"the foreground is {foreground.dtype}, must be bool")
    check(foreground.astype(np.int8), truth, void)
    shared, union, there = np.zeros(len(truth)), np.zeros(len(truth)), False
    for t in range(len(truth)):
        mine, theirs = foreground[t], truth[t] > 0
        if void is not None:
            mine, theirs = mine & ~void[t], theirs & ~void[t]
        there = there or bool(theirs.any())
        shared[t], union[t] = np.count_nonzero(mine & theirs), np.count_nonzero(mine | theirs)
    j = np.divide(shared, union, out=np.ones_like(shared), where=union > 0)
    return float(j.mean()) if there else None


def tube_j(found: Confusion) -> np.ndarray | None:
    """The IoU of every tube with all objects taken together in every frame, float64 (T, K).

    1 where both are empty. None where no frame shows an object.
    """
    if not found.objects:
        return None
    union = np.stack([found.counts[:, 0], found.counts[:, 1:].sum(axis=1)], axis=1)
    return np.nan_to_num(frame_iou(Confusion((1,), found.tubes, union))[:, 0], nan=1.0)


def oracle_j(found: Confusion, per_frame: bool = False) -> float | None:
    """J of the tube that fits best over the whole video, or of the best tube of each frame; None as `tube_j`.

    Without any tube the foreground is empty: 0, but 1 in frames without an object.
    """
    j = tube_j(found)
    if j is None:
        return None
    if not j.shape[1]:
        return float((found.truth_areas.sum(axis=1) == 0).mean())
    return float(j.max(axis=1).mean() if per_frame else j.mean(axis=0).max())
