"""Colours: those that objects are named by, and those that show ids in a mask file."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (205, 45, 40),
    "orange": (240, 140, 35),
    "yellow": (235, 220, 60),
    "olive": (125, 130, 40),
    "lime": (150, 220, 70),
    "green": (40, 140, 65),
    "cyan": (80, 210, 215),
    "teal": (20, 120, 125),
    "blue": (45, 85, 205),
    "navy": (30, 35, 105),
    "purple": (120, 55, 170),
    "magenta": (215, 60, 175),
    "pink": (245, 170, 190),
    "brown": (125, 75, 45),
    "white": (240, 240, 235),
    "grey": (130, 130, 135),
    "black": (30, 30, 35),
}
"""Names and RGB values of the colours that objects and backgrounds are made of."""


def mask_palette() -> NDArray[np.uint8]:
    """The colour of each id in a mask file, uint8 (256, 3): the palette of DAVIS and PASCAL VOC.

    Bit j of a channel, counted from the top, is bit 3j + channel of the id.
    """
    ids = np.arange(256)[:, None]
    palette = np.zeros((256, 3), np.int64)
    for j in range(8):
        shift = 3 * j + np.arange(3)
        palette |= ((ids >> shift) & 1) << (7 - j)
    return palette.astype(np.uint8)
