"""Images that hold masks: indexed, grey or coloured, with an object's id as value."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import numpy as np

from stages.sprites.palette import mask_palette

VOID = 255
"""Value of pixels that don't count, in masks that hold ids."""


def read_ids(source: str | Path | BinaryIO, name: str, binary: bool) -> tuple[np.ndarray, np.ndarray]:
    """Read one mask: ``(ids, void)``, uint8 object ids (H, W) with 0 for background, and bool (H, W).

    Args:
        source: the image file.
        name: what it is called in messages.
        binary: whatever is not 0 is the one object, 255 included, and nothing is void. Else the value is the
            object's id, and 255 is void (its id reads 0).

    Indexed, grey (with or without alpha), bilevel and RGB images are read; colours of an RGB image are looked
    up in the palette of DAVIS.

    Raises:
        OSError: the file is missing or no image.
        ValueError: an RGB image has a colour that is not in the palette, or the image's mode holds no mask.
    """
    values = _values(source, name, binary)
    if binary:
        return (values > 0).astype(np.uint8), np.zeros(values.shape, bool)
    void = values == VOID
    return np.where(void, np.uint8(0), values), void


def mask_box(mask: np.ndarray) -> tuple[int, int, int, int] | None:
    """The box of a bool mask (H, W): first column and row, last column and row; None where empty."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]), int(rows[-1])


def _values(source: str | Path | BinaryIO, name: str, binary: bool) -> np.ndarray:
    from PIL import Image

    with Image.open(source) as image:
        if image.mode in ("P", "L", "1"):
            return np.asarray(image, dtype=np.uint8)
        if image.mode in ("PA", "LA"):
            return np.asarray(image, dtype=np.uint8)[..., 0]
        if image.mode in ("RGB", "RGBA"):
            colours = np.asarray(image.convert("RGB"))
            return colours.max(axis=2) if binary else _indices(colours, name)
        raise ValueError(f"{name}: a mask can't have the mode {image.mode}")


def _indices(colours: np.ndarray, name: str) -> np.ndarray:
    code = (colours.astype(np.int64) * (65536, 256, 1)).sum(axis=2)
    table = {int(c): i for i, c in enumerate((mask_palette().astype(np.int64) * (65536, 256, 1)).sum(axis=1))}
    found, inverse = np.unique(code, return_inverse=True)
    unknown = [f"#{c:06x}" for c in found.tolist() if c not in table]
    if unknown:
        raise ValueError(f"{name}: {', '.join(unknown[:3])} is no colour of the DAVIS palette")
    return np.array([table[c] for c in found.tolist()], np.uint8)[inverse].reshape(code.shape)
