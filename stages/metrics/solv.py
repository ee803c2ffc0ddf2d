"""SOLV's evaluator (methods sheet section 2.6): the ``@solv`` protocols."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stages.metrics.confusion import BACKGROUND, Confusion
from stages.metrics.matching import assign
from stages.metrics.overlap import pair_iou
from stages.metrics.rand_index import adjusted_rand

MOST_OBJECTS = 19
"""Objects beyond this number (by rising id) are background."""


@dataclass(frozen=True)
class SolvResult:
    """What SOLV's evaluator finds in a video with G evaluated objects.

    Attributes:
        objects: their ids in the annotation, rising.
        relabelled: tube id -> object id, for the tubes that are not background after relabelling.
        iou: float64 (G,), of each object with the pixels that were given its id.
        fg_ari: mean over the frames that count, or None where none does.
    """

    objects: tuple[int, ...]
    relabelled: dict[int, int]
    iou: np.ndarray
    fg_ari: float | None


def evaluated_objects(found: Confusion) -> tuple[int, ...]:
    """Objects of the first frame, at most `MOST_OBJECTS`; others are background. None: nothing counts."""
    present = found.truth_areas[0] > 0
    return tuple(number for number, there in zip(found.objects, present, strict=True) if there)[:MOST_OBJECTS]


def select_objects(truth: np.ndarray) -> np.ndarray:
    """Ground truth as SOLV's evaluator sees it, int64 (T, H, W): evaluated objects renumbered 1..n, else 0.

    Args:
        truth: object ids, int (T, H, W), 0 background. All is background if the first frame has no object.
    """
    kept = np.unique(truth[0])
    kept = kept[kept != BACKGROUND][:MOST_OBJECTS]
    if not len(kept):
        return np.zeros(truth.shape, np.int64)
    place = np.minimum(np.searchsorted(kept, truth), len(kept) - 1)
    return np.where(kept[place] == truth, place + 1, 0)


def evaluate(found: Confusion, id_gap_bug: bool = False, drop_single: bool = False) -> SolvResult | None:
    """Match, relabel and score one video; None where its first frame has no object.

    Args:
        found: the video, with all its objects.
        id_gap_bug: do as the released evaluator, which takes a tube's place in the sorted list of ids for its
            id. The same for ids 0, 1, 2, ...; with gaps, tubes get objects that were matched to others.
        drop_single: leave frames with a single object out of the FG-ARI.
    """
    objects = evaluated_objects(found)
    if not objects:
        return None
    video = found.keep(objects)
    scores = pair_iou(video)
    rows, columns = assign(scores.T)
    ids = rows if id_gap_bug else np.array([*video.tubes, *[-1] * len(objects)])[rows]
    places = {number: place for place, number in enumerate(video.tubes)}
    owner = np.full(len(video.tubes), -1)
    for number, column in zip(ids.tolist(), columns.tolist(), strict=True):
        if number in places:
            owner[places[number]] = column
    iou = np.zeros(len(objects))
    for place in np.flatnonzero(owner >= 0):
        iou[owner[place]] = scores[owner[place], place]
    relabelled = {video.tubes[p]: objects[owner[p]] for p in np.flatnonzero(owner >= 0)}
    return SolvResult(objects, relabelled, iou, _fg_ari(video, owner, drop_single))


def relabel(prediction: np.ndarray, result: SolvResult) -> np.ndarray:
    """``prediction`` (T, H, W) with object ids in place of the matched tubes' ids and 0 elsewhere, int64."""
    labels = np.full(prediction.shape, BACKGROUND, np.int64)
    for tube, number in result.relabelled.items():
        labels[prediction == tube] = number
    return labels


def _fg_ari(video: Confusion, owner: np.ndarray, drop_single: bool) -> float | None:
    """FG-ARI per frame after relabelling (pixels without an object's id form a cluster), mean over frames."""
    target = np.concatenate([[0], owner + 1])
    merged = np.zeros((*video.counts.shape[:2], len(video.objects) + 1), np.int64)
    for column, cluster in enumerate(target):
        merged[:, :, cluster] += video.counts[:, :, column]
    return mean_fg_ari(merged[:, 1:], drop_single)


def mean_fg_ari(tables: np.ndarray, drop_single: bool = False) -> float | None:
    """Mean adjusted Rand index of the frames with foreground; None where there is no such frame.

    Args:
        tables: counts of foreground pixels (T, G, clusters).
        drop_single: leave frames with a single object out.
    """
    objects = (tables.sum(axis=2) > 0).sum(axis=1)
    counted = objects > (1 if drop_single else 0)
    return float(adjusted_rand(tables[counted]).mean()) if counted.any() else None
