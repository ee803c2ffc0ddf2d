"""Merging of masks that touch and have the same name (VOL; methods sheet 1.5, step 8)."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Literal, get_args

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from stages.errors import SettingsError

Adjacency = Literal["spatiotemporal", "spatial"]
"""Which patches touch: those whose (frame, row, column) differ by 0 or 1 in each, all in the same direction
(as released: a forward diagonal counts, the other one does not); or such patches of one frame.
"""

ADJACENCIES: tuple[str, ...] = get_args(Adjacency)


@dataclass(frozen=True)
class Merged:
    """Masks after merging, in the order of the smallest mask that each is made of.

    Attributes:
        members: per merged mask the numbers of the masks that it was made of, rising.
        count: how many masks there were (M).
    """

    members: tuple[tuple[int, ...], ...]
    count: int

    def sums(self, pooled: np.ndarray) -> np.ndarray:
        """What is pooled over the merged masks, (G, C), where ``pooled``, (M, C), are sums over the masks.

        A matrix product would take a number per pair of masks, and round as its library's threads fall.
        """
        found = np.zeros((len(self.members), pooled.shape[1]), pooled.dtype)
        for row, members in zip(found, self.members, strict=True):
            pooled[list(members)].sum(axis=0, out=row)
        return found

    def masks(self, masks: np.ndarray) -> np.ndarray:
        """The merged masks, bool (G, T, h, w), of ``masks``, bool (M, T, h, w)."""
        found = np.zeros((len(self.members), *masks.shape[1:]), bool)
        for row, members in zip(found, self.members, strict=True):
            masks[list(members)].any(axis=0, out=row)
        return found


def touching(masks: np.ndarray, adjacency: str = "spatiotemporal") -> np.ndarray:
    """Which masks have patches that touch or coincide, bool (M, M), symmetric, False on the diagonal.

    Args:
        masks: bool (M, T, h, w).
        adjacency: see `Adjacency`.

    Raises:
        SettingsError: there is no such adjacency.
    """
    if adjacency not in ADJACENCIES:
        raise SettingsError(f"there is no adjacency {adjacency!r}: choose {' or '.join(ADJACENCIES)}")
    count, shape = len(masks), masks.shape[1:]
    mask, *place = np.nonzero(masks)
    here = _incidence(mask, np.array(place), count, shape)
    found = np.zeros((count, count), bool)
    for step in product((0, 1) if adjacency == "spatiotemporal" else (0,), (0, 1), (0, 1)):
        there = np.array(place) + np.array(step)[:, None]
        inside = (there < np.array(shape)[:, None]).all(axis=0)
        found |= (_incidence(mask[inside], there[:, inside], count, shape) @ here.T).toarray() > 0
    found |= found.T
    np.fill_diagonal(found, False)
    return found


def _incidence(mask: np.ndarray, place: np.ndarray, count: int, shape: tuple[int, ...]) -> csr_array:
    """Which mask has which patch: a sparse matrix (M, T h w) of ones."""
    column = np.ravel_multi_index(tuple(place), shape)
    return csr_array((np.ones(len(mask), np.int32), (mask, column)), shape=(count, int(np.prod(shape))))


def merge(touch: np.ndarray, name: np.ndarray, kept: np.ndarray) -> Merged:
    """Merge masks that touch, directly or through others, and have the same name.

    The published rule contracts the first pair of neighbours i, j with argmax L_i = argmax L_j =
    argmax(L_i + L_j), where L are class scores summed over a mask's patches, and starts anew, until there is
    none. Two vectors that peak at the same class have a sum that peaks there. So the third condition follows
    from the first, a contraction changes no name, and what remains are the connected components of equal
    name. The smallest number of a component is the one that remains, in whatever order it is contracted.

    Args:
        touch: bool (M, M) of `touching`, over all masks, those not kept too (they connect nothing).
        name: int (M,), the class of each mask: argmax of its logits over `REST` and the targets.
        kept: bool (M,), masks that survived the background filter.
    """
    alive = np.flatnonzero(kept)
    edges = touch[np.ix_(alive, alive)] & (name[alive][:, None] == name[alive])
    _, component = connected_components(csr_array(edges), directed=False)
    members: dict[int, list[int]] = {}
    for mask, group in zip(alive.tolist(), component.tolist(), strict=True):
        members.setdefault(group, []).append(mask)
    return Merged(tuple(tuple(group) for group in members.values()), len(kept))
