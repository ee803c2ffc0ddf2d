"""Linking the slots of neighbouring clips, so that tubes go on from clip to clip.

The rule: a slot before and a slot after are as alike as the mean of two numbers says, the cosine of their
vectors, and the overlap (intersection over union) of their masks in the two frames that adjoin. Slots are
paired one to one for the greatest total, and a pair goes on as one tube if its number reaches a threshold.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import linear_sum_assignment

from stages.merging.linking import similarity

NO_PARTNER = -1


def overlap(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Intersection over union (n, m) of masks bool (n, N) and (m, N); 0 where both are empty."""
    shared = first.astype(np.float64) @ second.T.astype(np.float64)
    union = first.sum(axis=1)[:, None] + second.sum(axis=1)[None] - shared
    found: np.ndarray = shared / np.maximum(union, 1)
    return found


def link_clips(
    before: tuple[np.ndarray, np.ndarray], after: tuple[np.ndarray, np.ndarray], threshold: float
) -> np.ndarray:
    """The slot of the clip before that every slot of the clip after goes on with.

    Args:
        before: slot vectors (n, d), and their masks bool (n, N) in the last frame of the clip.
        after: slot vectors (m, d), and their masks bool (m, N) in the first frame of the next clip.
        threshold: least mean of cosine and overlap, up to 1.

    Returns:
        int64 (m,): numbers below n, each at most once; -1 for slots that go on with none.
    """
    alike = (similarity(before[0].astype(np.float64), after[0].astype(np.float64))) / 2
    alike += overlap(before[1], after[1]) / 2
    return best_pairs(alike, threshold)


def best_pairs(alike: np.ndarray, threshold: float) -> np.ndarray:
    """The row that every column of ``alike`` (n, m) is paired with for the greatest total, int64 (m,).

    Every row is there at most once; -1 for columns that are left over, or whose pair is below ``threshold``.
    """
    rows, columns = linear_sum_assignment(alike, maximize=True)
    partner = np.full(alike.shape[1], NO_PARTNER, np.int64)
    good = alike[rows, columns] >= threshold
    partner[columns[good]] = rows[good]
    return partner
