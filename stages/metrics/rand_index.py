"""The adjusted Rand index from contingency tables (methods sheet section 8.3)."""

from __future__ import annotations

import numpy as np


def adjusted_rand(table: np.ndarray) -> np.ndarray:
    """Adjusted Rand index of contingency tables, float64 (...).

    Pairs of pixels are counted in float64: 55,000 pixels already overflow 32-bit pair counts, and a video's
    products of pair counts overflow 64-bit ones. Where both sides are trivial (one cluster each, nothing
    but single pixels, or no pixel at all) the index is 1; where only one of them is a single cluster it is
    exactly 0, because every pair then agrees by chance.

    Args:
        table: counts (..., G, K), pixels of object g in cluster k.
    """
    n = table.astype(np.float64)
    pairs = _pairs(n).sum(axis=(-2, -1))
    rows, columns = _pairs(n.sum(axis=-1)).sum(axis=-1), _pairs(n.sum(axis=-2)).sum(axis=-1)
    total = np.maximum(_pairs(n.sum(axis=(-2, -1))), 1.0)
    # Equality of means holds exactly here, while the difference below may be a rounding error instead of 0.
    alike = (rows == columns) & ((rows == 0) | (rows == total))
    one = (rows == total) | (columns == total)
    expected = rows * (columns / total)
    spread = (rows + columns) / 2 - expected
    index = np.divide(pairs - expected, spread, out=np.zeros_like(pairs), where=~(alike | one))
    return np.where(alike, 1.0, index)


def _pairs(n: np.ndarray) -> np.ndarray:
    """Ordered pairs among ``n`` things."""
    return n * (n - 1)
