"""Linking the slots of neighbouring frames (SOLV, methods sheet 2.5)."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from scipy.optimize import linear_sum_assignment

EPSILON = 1e-8


def similarity(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Cosine similarity (n, m) of rows (n, d) and (m, d)."""
    norms = np.linalg.norm(first, axis=1) + EPSILON, np.linalg.norm(second, axis=1) + EPSILON
    found: np.ndarray = (first @ second.T) / np.outer(*norms)
    return found


def link(slots: list[np.ndarray]) -> list[np.ndarray]:
    """A label for every slot of every frame.

    Frame 0 labels its slots 0..n-1; each later frame takes the labels over from the frame before by a
    Hungarian assignment of most total cosine similarity. A slot left over takes the label of the most
    similar slot before: no label is ever new, and two slots of a frame can share one.

    Args:
        slots: per frame float (n_t, d), n_t >= 1.

    Returns:
        Per frame int64 (n_t,).
    """
    labels = [np.arange(len(slots[0]), dtype=np.int64)]
    for before, now in pairwise(slots):
        similar = similarity(before.astype(np.float64), now.astype(np.float64))
        partner = similar.argmax(axis=0)
        rows, columns = linear_sum_assignment(similar, maximize=True)
        partner[columns] = rows
        labels.append(labels[-1][partner])
    return labels
