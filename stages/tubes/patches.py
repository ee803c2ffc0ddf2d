"""Masks of tubes on the patch grid: pixels taken where the patches have their centres.

Tubes are stored as pixels of the upright frame. What is decided patch by patch (boxes of VOL, features pooled
over a mask) takes them back to the grid on which they were found.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_OFFSET, _VALUE, _SIGN, _MORE, _BITS = 48, 31, 16, 32, 5


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
    places = (columns[:, None] * size[0] + rows).ravel()
    found = np.zeros((len(rles), grid[1] * grid[0]), bool)
    for mask, rle in zip(found, rles, strict=True):
        mask[:] = np.searchsorted(np.cumsum(run_lengths(rle)), places, side="right") & 1
    return found.reshape(-1, grid[1], grid[0]).swapaxes(1, 2)


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


def run_lengths(rle: str) -> np.ndarray:
    """Lengths of runs outside and inside a mask in turns, down the columns, int64 (runs,).

    The form is that of `stages.catalog.rle`. Looking places up in runs is ten times as fast as decoding all
    pixels of a mask for a few hundred of them.
    """
    bits = np.frombuffer(rle.encode("ascii"), np.uint8).astype(np.int64) - _OFFSET
    last = np.flatnonzero((bits & _MORE) == 0)
    first = np.concatenate([[0], last[:-1] + 1])
    place = np.arange(len(bits)) - np.repeat(first, last - first + 1)
    runs: np.ndarray = np.add.reduceat((bits & _VALUE) << (_BITS * place), first)
    runs -= ((bits[last] & _SIGN) > 0).astype(np.int64) << (_BITS * (place[last] + 1))
    # all but the first three are differences to the run before the last
    runs[1::2], runs[2::2] = np.cumsum(runs[1::2]), np.cumsum(runs[2::2])
    return runs
