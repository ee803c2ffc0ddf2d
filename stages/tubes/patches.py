"""Masks of tubes on the patch grid: pixels taken where the patches have their centres.

Tubes are stored as pixels of the upright frame. What is decided patch by patch (boxes of VOL, features pooled
over a mask) takes them back to the grid on which they were found.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pycocotools import mask as coco

_PIXELS = 1 << 26
"""Pixels of masks that are decoded at a time, a byte each."""


def patch_masks(
    rles: Sequence[str],
    size: tuple[int, int],
    borders: tuple[int, int, int, int],
    grid: tuple[int, int],
) -> np.ndarray:
    """Some masks of one frame, each patch being what the pixel at its centre is.

    Args:
        rles: compressed counts of COCO, n of them (column ``rle`` of tubes).
        size: H, W of the upright frame, which they are of.
        borders: pixels of it that the method did not see: top, bottom, left, right.
        grid: rows and columns of patches on what is left of it.

    Returns:
        bool (n, rows, columns).

    Raises:
        ValueError: the borders leave nothing.
    """
    rows = centres(size[0], borders[:2], grid[0])
    columns = centres(size[1], borders[2:], grid[1])
    found = np.zeros((len(rles), *grid), bool)
    step = max(_PIXELS // (size[0] * size[1]), 1)
    for start in range(0, len(rles), step):
        part = [{"size": list(size), "counts": rle.encode("ascii")} for rle in rles[start : start + step]]
        found[start : start + step] = coco.decode(part)[rows[:, None], columns].transpose(2, 0, 1)
    return found


def patch_labels(
    tubes: Sequence[int],
    rles: Sequence[str],
    size: tuple[int, int],
    borders: tuple[int, int, int, int],
    grid: tuple[int, int],
) -> np.ndarray:
    """The tube of every patch of one frame, int64 (rows, columns); -1 for none, and the last given where
    masks overlap. Arguments are those of `patch_masks`, ``tubes`` the n numbers."""
    labels = np.full(grid, -1, np.int64)
    for tube, mask in zip(tubes, patch_masks(rles, size, borders, grid), strict=True):
        labels[mask] = tube
    return labels


def centres(pixels: int, borders: tuple[int, ...], patches: int) -> np.ndarray:
    """The pixels that hold the centres of ``patches`` equal parts, int64 (patches,).

    Args:
        pixels: of one side of the frame.
        borders: pixels cut off its beginning and its end.

    Raises:
        ValueError: the borders leave nothing.
    """
    left = pixels - sum(borders)
    if left < 1:
        raise ValueError(f"borders of {borders} leave nothing of {pixels} pixels")
    found: np.ndarray = borders[0] + (2 * np.arange(patches) + 1) * left // (2 * patches)
    return found
