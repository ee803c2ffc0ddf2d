"""Merging of slots that stand for one object: agglomerative clustering (SOLV, methods sheet 2.2)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from sklearn.cluster import AgglomerativeClustering
from torch import Tensor

EPSILON = 1e-8


@dataclass(frozen=True)
class Merged:
    """Slots after merging; cluster c is row c, further rows are empty.

    Attributes:
        slots: (B, K, d), means of the members; zero rows beyond the clusters.
        attention: (B, K, N), rows sum to 1; uniform beyond the clusters.
        count: int64 (B), clusters per sample.
        assignment: int64 (B, K), the cluster of every former slot.
    """

    slots: Tensor
    attention: Tensor
    count: Tensor
    assignment: Tensor

    @property
    def active(self) -> Tensor:
        """bool (B, K): which rows are clusters."""
        return torch.arange(self.slots.shape[1], device=self.count.device) < self.count[:, None]


def cluster(slots: np.ndarray, threshold: float) -> np.ndarray:
    """Labels int64 (K,) of slots (K, d): cosine distance, complete linkage, cut at ``threshold``."""
    if len(slots) < 2:
        return np.zeros(len(slots), np.int64)
    model = AgglomerativeClustering(
        n_clusters=None,
        metric="cosine",
        linkage="complete",
        distance_threshold=threshold,
        compute_full_tree=True,
    )
    labels: np.ndarray = model.fit_predict(slots).astype(np.int64)
    return labels


def assign(slots: Tensor, threshold: float, min_clusters: int, skip: Tensor | None = None) -> Tensor:
    """The cluster of every slot, int64 (B, K); the slot's own number where a sample is left as it is.

    Args:
        slots: (B, K, d); no gradient passes.
        threshold: cosine distance.
        min_clusters: a result with fewer clusters is discarded (the released code: 3).
        skip: bool (B), samples that are not merged. Nor are those with a slot that is no number, so that a
        training reports its loss instead, or that is zero and has no angle.
    """
    values = slots.detach().float().cpu().numpy()
    kept = np.arange(values.shape[1])
    rows = []
    for number, sample in enumerate(values):
        if (skip is not None and bool(skip[number])) or not _have_directions(sample):
            rows.append(kept)
            continue
        labels = cluster(sample, threshold)
        rows.append(labels if labels.max() + 1 >= min_clusters else kept)
    return torch.from_numpy(np.stack(rows)).to(slots.device)


def _have_directions(slots: np.ndarray) -> bool:
    return bool(np.isfinite(slots).all() and slots.any(axis=1).all())


def merge(slots: Tensor, attention: Tensor, assignment: Tensor) -> Merged:
    """Means of slots (B, K, d) and sums of attention (B, K, N) by ``assignment``; gradients pass."""
    member = torch.nn.functional.one_hot(assignment, slots.shape[1]).to(slots.dtype).mT  # cluster x slot
    sizes = member.sum(dim=2, keepdim=True)
    summed = member @ attention + EPSILON
    return Merged(
        slots=member @ slots / (sizes + EPSILON),
        attention=summed / summed.sum(dim=2, keepdim=True),
        count=assignment.amax(dim=1) + 1,
        assignment=assignment,
    )
