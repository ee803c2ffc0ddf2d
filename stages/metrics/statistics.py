"""Mean, recall and decay of a curve over frames, as DAVIS defines them (methods sheet section 8.4)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

RECALL_ABOVE = 0.5


@dataclass(frozen=True)
class Statistics:
    """``mean``; ``recall``: share above 0.5; ``decay``: mean of the first quarter minus mean of the last."""

    mean: float
    recall: float
    decay: float


def statistics(curve: np.ndarray, decay_uint8_bug: bool = False) -> Statistics:
    """The three figures of one object's values in N frames.

    The limits of the four quarters are ``round(linspace(1, N, 5) + 1e-10) - 1``; neighbouring quarters share
    the frame between them.

    Args:
        curve: float (N,), N >= 1, finite.
        decay_uint8_bug: keep the limits in 8 bits as the official scorer does. Beyond 256 frames they wrap,
            and where a quarter then holds no frame the decay is NaN.

    Raises:
        ValueError: the curve is empty or not finite.
    """
    values = np.asarray(curve, np.float64)
    if values.ndim != 1 or not len(values) or not np.isfinite(values).all():
        raise ValueError(f"a curve of the shape {values.shape} must have one axis, a frame and finite values")
    limits = (np.round(np.linspace(1, len(values), 5) + 1e-10) - 1).astype(np.int64)
    if decay_uint8_bug:
        limits = limits.astype(np.uint8).astype(np.int64)
    first, last = (values[limits[i] : limits[i + 1] + 1] for i in (0, 3))
    decay = float(first.mean() - last.mean()) if len(first) and len(last) else math.nan
    return Statistics(float(values.mean()), float((values > RECALL_ABOVE).mean()), decay)
