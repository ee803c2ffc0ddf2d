"""Boxes around masks on the patch grid (VOL; methods sheet 1.5, step 10).

Coordinates are pixels of the upsampled masks, and the largest ones belong to the box: no +1.
"""

from __future__ import annotations

import numpy as np

Box = tuple[int, int, int, int]
"""Smallest x, smallest y, largest x, largest y, all inside."""


def upsample(masks: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Masks (..., h, w) enlarged to (..., H, W): every pixel takes the patch that holds its centre.

    That is ``nearest-exact`` of torch, in exact arithmetic.
    """
    rows, columns = _source(masks.shape[-2], size[0]), _source(masks.shape[-1], size[1])
    found: np.ndarray = masks[..., rows, :][..., columns]
    return found


def boxes(masks: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The box of every mask in every frame, as published: a mask absent from a frame has (0, 0, 0, 0) there.

    Args:
        masks: bool (M, T, h, w).
        size: H, W of the frames; VOL's are 16 h, 16 w.

    Returns:
        int64 (T, M, 4).
    """
    found, there = _boxes(masks, size)
    return np.where(there[..., None], found, 0).swapaxes(0, 1)


def tube_boxes(masks: np.ndarray, size: tuple[int, int]) -> list[list[Box | None]]:
    """The boxes of `boxes` by mask, then frame, and None where a mask is absent: no box of one pixel is
    invented.
    """
    found, there = _boxes(masks, size)
    return [
        [(x0, y0, x1, y1) if seen else None for (x0, y0, x1, y1), seen in zip(*row, strict=True)]
        for row in zip(found.tolist(), there.tolist(), strict=True)
    ]


def _boxes(masks: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Boxes int64 (M, T, 4), and where they mean something, bool (M, T).

    A box needs only which rows and columns a mask touches, so only those are enlarged.
    """
    rows = np.any(masks, axis=3)[..., _source(masks.shape[2], size[0])]
    columns = np.any(masks, axis=2)[..., _source(masks.shape[3], size[1])]
    found = np.stack([_first(columns), _first(rows), _last(columns), _last(rows)], axis=-1)
    there: np.ndarray = np.any(rows, axis=2) & np.any(columns, axis=2)
    return found, there


def _source(patches: int, pixels: int) -> np.ndarray:
    """The patch that holds the centre of each pixel, int64 (pixels,)."""
    found: np.ndarray = (2 * np.arange(pixels) + 1) * patches // (2 * pixels)
    return found


def _first(touched: np.ndarray) -> np.ndarray:
    found: np.ndarray = touched.argmax(axis=2)
    return found


def _last(touched: np.ndarray) -> np.ndarray:
    found: np.ndarray = touched.shape[2] - 1 - touched[..., ::-1].argmax(axis=2)
    return found
