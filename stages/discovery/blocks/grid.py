"""Coordinates of patches, and coordinates relative to where a slot looks."""

from __future__ import annotations

import torch
from torch import Tensor

DIVISOR = 5.0
"""A slot's scale is multiplied by this before coordinates are divided by it (invariant slot attention)."""

LEAST_VARIANCE = 1e-12
"""Of a slot's attention along an axis. The published code has none, and gives NaN where all kept tokens lie
in one row or column, as happens on small grids."""


def coordinates(rows: int, columns: int) -> Tensor:
    """x then y of every patch in [-1, 1], row-major, float32 (N, 2)."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, rows), torch.linspace(-1, 1, columns), indexing="ij")
    return torch.stack([x, y], dim=-1).reshape(-1, 2)


def locate(weights: Tensor, grid: Tensor) -> tuple[Tensor, Tensor]:
    """Centre and spread of every slot: weighted mean and deviation of the coordinates.

    Args:
        weights: (B, K, N), each row sums to 1.
        grid: (B, N, 2) or (1, N, 2).

    Returns:
        ``positions`` and ``scales``, both (B, K, 2).
    """
    positions = weights @ grid
    offsets = grid[:, None] - positions[:, :, None]
    variances = torch.einsum("bkn,bknc->bkc", weights, offsets.square())
    scales = variances.clamp_min(LEAST_VARIANCE).sqrt()
    return positions, scales


def relative(grid: Tensor, positions: Tensor, scales: Tensor) -> Tensor:
    """(B, K, N, 2): coordinates as seen from each slot, ``(grid - position) / (5 scale)``."""
    return (grid[:, None] - positions[:, :, None]) / (DIVISOR * scales[:, :, None])
