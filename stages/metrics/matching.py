"""One-to-one assignment of predictions to objects (methods sheet section 8.6)."""

from __future__ import annotations

import numpy as np


def assign(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The assignment with the largest total, as numbers of predictions and of their objects, int64 (G,) each.

    Args:
        scores: float64 (K, G). With fewer predictions than objects, rows of zeros are appended, so every
            object gets a number; numbers from K on stand for no prediction.

    Raises:
        ValueError: a score is not finite.
    """
    from scipy.optimize import linear_sum_assignment

    if not np.isfinite(scores).all():
        raise ValueError("scores to assign by must be finite")
    missing = max(scores.shape[1] - scores.shape[0], 0)
    padded = np.concatenate([scores, np.zeros((missing, scores.shape[1]))])
    rows, columns = linear_sum_assignment(padded, maximize=True)
    return rows.astype(np.int64), columns.astype(np.int64)


def assigned(scores: np.ndarray) -> np.ndarray:
    """What each object gets in the best assignment, float64 (G,); 0 for one that gets no prediction.

    Args:
        scores: float64 (K, G), as for `assign`.
    """
    rows, columns = assign(scores)
    values = np.zeros(scores.shape[1])
    real = rows < len(scores)
    values[columns[real]] = scores[rows[real], columns[real]]
    return values
