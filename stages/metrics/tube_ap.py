"""AP and AR of tubes against annotated objects, class-agnostic, as the YouTube-VIS API computes them
(evaluation sheet, D1).

A tube overlaps an object by what their masks share over all frames, divided by what they cover together. The
class plays no part (``useCats=0``). Tubes need scores to be ranked by; where a method gives none, the
pixel-weighted mean confidence that `stages.tubes.table` calls ``score`` stands for one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from stages.metrics.average_precision import Matched, curve, greedy, ranked

RLE = Mapping[str, Any]
"""A mask as pycocotools has it: ``{"size": [H, W], "counts": compressed run lengths}``."""
LEVELS = tuple(np.linspace(0.5, 0.95, 10).tolist())
"""The IoUs that are enough, one after the other."""
RECALLS = np.linspace(0.0, 1.0, 101)
"""Where the precision is read off."""
MOST = 100
"""Tubes of a video that enter, the best first."""
Area = tuple[float, float]
ALL: Area = (0.0, 1e10)
SMALL: Area = (0.0, 128.0**2)
MEDIUM: Area = (128.0**2, 256.0**2)
LARGE: Area = (256.0**2, 1e10)
"""Ranges of the mean area in pixels, both ends inside. They are not COCO's."""


@dataclass(frozen=True)
class Tube:
    """A tube or an annotated object.

    Attributes:
        masks: one per frame of the video, None where it isn't there.
        score: by which tubes are ranked; of an object it means nothing.
    """

    masks: Sequence[RLE | None]
    score: float = 1.0

    def areas(self) -> np.ndarray:
        """Pixels in each frame, float64 (T,)."""
        from pycocotools import mask as coco

        there = [t for t, found in enumerate(self.masks) if found is not None]
        areas = np.zeros(len(self.masks))
        if there:
            areas[there] = coco.area([self.masks[t] for t in there])
        return areas


def mean_area(areas: np.ndarray) -> float:
    """Mean of ``areas`` (T,) over the frames with a pixel; 0 where there is none."""
    return float(areas[areas > 0].mean()) if areas.any() else 0.0


def tube_iou(found: Sequence[Tube], truth: Sequence[Tube]) -> np.ndarray:
    """Spatio-temporal IoU, float64 (D, G); 0 for a pair without a pixel.

    Raises:
        ValueError: tubes differ in their number of frames, or masks in their size.
    """
    from pycocotools import mask as coco

    _check([*found, *truth])
    shared = np.zeros((len(found), len(truth)))
    if not shared.size:
        return shared
    sizes = [np.stack([tube.areas() for tube in tubes]) for tubes in (found, truth)]
    for t in range(sizes[0].shape[1]):
        rows, columns = (np.flatnonzero(areas[:, t]).tolist() for areas in sizes)
        if rows and columns:
            masks = [[found[i].masks[t] for i in rows], [truth[i].masks[t] for i in columns]]
            iou = np.asarray(coco.iou(*masks, [0] * len(columns)))
            both = sizes[0][rows, t][:, None] + sizes[1][columns, t][None, :]
            # counts of pixels, so rounding takes the quotient's error away
            shared[np.ix_(rows, columns)] += np.rint(iou * both / (1 + iou))
    union = sizes[0].sum(axis=1)[:, None] + sizes[1].sum(axis=1)[None, :] - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def _check(tubes: Sequence[Tube]) -> None:
    lengths = {len(tube.masks) for tube in tubes}
    if len(lengths) > 1:
        raise ValueError(f"tubes have {sorted(lengths)} frames, must be of the same video")
    sizes = {tuple(mask["size"]) for tube in tubes for mask in tube.masks if mask is not None}
    if len(sizes) > 1:
        raise ValueError(f"masks of a video have the sizes {sorted(sizes)}, must be one")


def match_tubes(found: Sequence[Tube], truth: Sequence[Tube], area: Area = ALL) -> Matched:
    """A video's tubes matched with its objects at all `LEVELS`; everything has the class 0.

    Args:
        found: tubes in any order; the best `MOST` enter, of equal scores the first ones.
        truth: annotated objects.
        area: objects whose mean area is outside need not be found, and tubes that have got such an object, or
            none and are themselves outside, don't count.

    Raises:
        ValueError: see `tube_iou`; a score is not finite.
    """
    scores = np.array([tube.score for tube in found], np.float64)
    if not np.isfinite(scores).all():
        raise ValueError("a tube's score is no finite number, by which tubes can't be ranked")
    order = ranked(scores)[:MOST]
    entered = [found[i] for i in order]
    gone, outside = (
        np.array([not area[0] <= mean_area(tube.areas()) <= area[1] for tube in tubes], bool)
        for tubes in (truth, entered)
    )
    hits, ignored = greedy(tube_iou(entered, truth), LEVELS, gone)
    ignored |= ~hits & outside[:, None]
    ranks, objects = np.arange(len(order)), np.zeros(int((~gone).sum()), np.int64)
    return Matched(np.zeros(len(order), np.int64), scores[order], ranks, hits, ignored, objects)


def average_precision(matched: Matched, levels: Sequence[int] = range(len(LEVELS))) -> float | None:
    """Mean precision at the 101 `RECALLS`, mean over ``levels`` (numbers of `LEVELS`).

    None without an object. Tubes of equal score rank in the order of the videos.
    """
    if not len(matched.truths):
        return None
    order = ranked(matched.scores)
    hits, counted = matched.hits[order], ~matched.ignored[order]
    means = []
    for level in levels:
        recall, precision = curve(hits[:, level], counted[:, level], len(matched.truths))
        places = np.searchsorted(recall, RECALLS, side="left")
        means.append(np.append(precision, 0.0)[places].mean())
    return float(np.mean(means))


def average_recall(matched: Matched, most: int = MOST) -> float | None:
    """Share of objects that the best ``most`` tubes of each video find, mean over `LEVELS`; None without an
    object."""
    if not len(matched.truths):
        return None
    counted = (matched.ranks < most)[:, None] & matched.hits & ~matched.ignored
    return float(counted.sum(axis=0).mean() / len(matched.truths))
