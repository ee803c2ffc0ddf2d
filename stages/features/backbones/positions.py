"""Position embeddings at other input sizes, resized as the releases of the models do it."""

from __future__ import annotations

from typing import Literal

import torch
from torch.nn import functional as F


def resize_positions(
    positions: torch.Tensor,
    native: tuple[int, int],
    grid: tuple[int, int],
    mode: Literal["offset", "antialias"],
) -> torch.Tensor:
    """Position embeddings of the patches for another grid.

    Args:
        positions: (1, M, D) with M = rows * columns of the native grid, row-major; without class token.
        native: rows and columns the model was trained with.
        grid: rows and columns wanted.
        mode: ``offset`` samples at the scales (rows + 0.1) / native rows, (columns + 0.1) / native columns
            without antialias, as DINO and DINOv2 without registers do; ``antialias`` samples at the plain
            target size with antialias, as DINOv2 with registers (and timm) do. Both are bicubic.

    Returns:
        (1, rows * columns, D) in fp32; unchanged when ``grid`` is the native one.
    """
    if grid == native:
        return positions
    field = positions.float().reshape(1, *native, -1).permute(0, 3, 1, 2)
    if mode == "offset":
        scale = ((grid[0] + 0.1) / native[0], (grid[1] + 0.1) / native[1])
        field = F.interpolate(field, scale_factor=scale, mode="bicubic")
    else:
        field = F.interpolate(field, size=grid, mode="bicubic", antialias=True)
    if tuple(field.shape[-2:]) != grid:
        raise RuntimeError(f"position embeddings became {tuple(field.shape[-2:])} instead of {grid}")
    return field.permute(0, 2, 3, 1).reshape(1, grid[0] * grid[1], -1)
