"""Average precision: ranked detections, matched greedily with what is annotated.

`match_boxes` and `mean_ap` are VOL's mAP50 (sheet 1.6). `greedy`, `Matched` and `curve` also carry the AP of
tubes (`stages.metrics.tube_ap`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from stages.metrics.boxes import TWICE, BoxFrame, box_iou

LEAST = 0.5
"""The IoU that is enough for a match in mAP50."""
_COLUMNS = 5


@dataclass(frozen=True)
class Matched:
    """Detections that have been matched with the truth at L levels of IoU; of a frame, a video or a data set.

    Attributes:
        classes: int64 (n,), class of each of the n detections.
        scores: float64 (n,).
        ranks: int64 (n,), place among the detections of the same video (frame, class), best first, from 0.
        hits: bool (n, L), whether a detection got an object of its class.
        ignored: bool (n, L), whether it counts neither as right nor as wrong.
        truths: int64 (G,), class of each object that can be found.
    """

    classes: np.ndarray
    scores: np.ndarray
    ranks: np.ndarray
    hits: np.ndarray
    ignored: np.ndarray
    truths: np.ndarray

    @classmethod
    def joined(cls, parts: Sequence[Matched], levels: int) -> Matched:
        """All ``parts`` as one, in their order; also of none."""
        empty = cls(
            np.zeros(0, np.int64), np.zeros(0), np.zeros(0, np.int64), np.zeros((0, levels), bool),
            np.zeros((0, levels), bool), np.zeros(0, np.int64),
        )  # fmt: skip
        names = ("classes", "scores", "ranks", "hits", "ignored", "truths")
        return cls(*(np.concatenate([getattr(part, name) for part in (empty, *parts)]) for name in names))

    def rows(self) -> np.ndarray:
        """The same as one table of numbers, float64 (n + G, 5), that can be stored and concatenated.

        Columns: class, score, rank, levels hit and levels ignored as bits (at most 53 levels). A row whose
        score is NaN is an object.
        """
        bits = 2.0 ** np.arange(self.hits.shape[1])
        found = [self.classes, self.scores, self.ranks, self.hits @ bits, self.ignored @ bits]
        objects = np.full((len(self.truths), _COLUMNS), np.nan)
        objects[:, 0] = self.truths
        return np.concatenate([np.stack(found, axis=1), objects])

    @classmethod
    def of_rows(cls, rows: np.ndarray, levels: int) -> Matched:
        """What `rows` gave, for ``levels`` levels."""
        there = np.isnan(rows[:, 1])
        found, bits = rows[~there], 1 << np.arange(levels, dtype=np.int64)
        hits, ignored = ((found[:, c].astype(np.int64)[:, None] & bits) > 0 for c in (3, 4))
        whole = (found[:, 0].astype(np.int64), found[:, 1], found[:, 2].astype(np.int64))
        return cls(*whole, hits, ignored, rows[there, 0].astype(np.int64))


def greedy(
    iou: np.ndarray, levels: Sequence[float], ignored: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Detections take objects one after the other, as COCO's evaluator lets them.

    Each takes, of the objects that are still free, the one with the highest IoU, if that reaches the level;
    the last of equals. It takes an ignored object only where it can't have another.

    Args:
        iou: float64 (D, G), detections in falling order of their scores.
        levels: the L levels.
        ignored: bool (G,), objects that need not be found; none if not given.

    Returns:
        Whether each detection has got an object, and whether that one is ignored, bool (D, L) both.
    """
    count, objects = iou.shape
    skipped = np.zeros(objects, bool) if ignored is None else ignored
    got = np.zeros((2, count, len(levels)), bool)
    for level, wanted in enumerate(levels):
        enough, free = iou >= min(wanted, 1 - 1e-10), np.ones(objects, bool)
        for d in np.flatnonzero(enough.any(axis=1)):
            for pool in (~skipped, skipped):
                choice = np.flatnonzero(enough[d] & free & pool)[::-1]
                if len(choice):
                    chosen = choice[np.argmax(iou[d, choice])]
                    free[chosen] = False
                    got[:, d, level] = True, skipped[chosen]
                    break
    return got[0], got[1]


def ranked(scores: np.ndarray) -> np.ndarray:
    """Places of ``scores`` (n,) from the highest to the lowest, int64 (n,); equal ones in their order."""
    return np.argsort(-scores, kind="stable")


def curve(hits: np.ndarray, counted: np.ndarray, truths: int) -> tuple[np.ndarray, np.ndarray]:
    """Recall and interpolated precision after each detection, float64 (n,) both.

    Interpolated: the highest precision at this recall or a higher one.

    Args:
        hits: bool (n,), best detection first.
        counted: bool (n,), whether it is right or wrong at all.
        truths: how many objects there are, 1 or more.
    """
    right, wrong = np.cumsum(hits & counted), np.cumsum(~hits & counted)
    precision = right / np.maximum(right + wrong, 1)
    return right / truths, np.maximum.accumulate(precision[::-1])[::-1]


def match_boxes(frames: Iterable[BoxFrame]) -> Matched:
    """A video's boxes matched at IoU 1/2, in every frame and class by themselves; one level.

    Two pixels are added to both sides of all boxes, found and annotated (sheet 1.6). Frames without objects
    count: what is found there is wrong. So do the (0, 0, 0, 0) of absent masks.
    """
    return Matched.joined([_match_frame(frame) for frame in frames], 1)


def _match_frame(frame: BoxFrame) -> Matched:
    box, classes = np.nonzero(~np.isnan(frame.scores))
    order = np.lexsort((-frame.scores[box, classes], classes))
    box, classes = box[order], classes[order]
    iou = box_iou(frame.boxes[box], frame.truth, TWICE)
    hits = np.zeros((len(box), 1), bool)
    for c in np.unique(frame.truth_classes):
        own, objects = np.flatnonzero(classes == c), np.flatnonzero(frame.truth_classes == c)
        hits[own] = greedy(iou[np.ix_(own, objects)], (LEAST,))[0]
    ranks = np.arange(len(box)) - np.searchsorted(classes, classes)
    scores = frame.scores[box, classes]
    return Matched(classes, scores, ranks, hits, np.zeros_like(hits), frame.truth_classes)


def class_ap(matched: Matched, classes: int) -> np.ndarray:
    """The area under the precision-recall curve of each class at the first level, float64 (classes,).

    NaN for a class without an object. All points of the curve count, not eleven of them; detections of
    equal score rank in their order, that of videos and frames.
    """
    areas = np.full(classes, np.nan)
    for c in np.unique(matched.truths[matched.truths < classes]):
        own = np.flatnonzero(matched.classes == c)
        own = own[ranked(matched.scores[own])]
        hits, truths = matched.hits[own, 0], int((matched.truths == c).sum())
        _, precision = curve(hits, ~matched.ignored[own, 0], truths)
        # recall rises by 1 / truths at each hit and nowhere else
        areas[c] = precision[hits].sum() / truths
    return areas


def mean_ap(matched: Matched) -> float | None:
    """Mean of `class_ap` over the classes that have an object; None where no class has."""
    if not len(matched.truths):
        return None
    return float(np.nanmean(class_ap(matched, int(matched.truths.max()) + 1)))
