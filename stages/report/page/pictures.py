"""Tubes drawn on frames."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

COLOURS = np.array(
    [
        [230, 159, 0], [86, 180, 233], [0, 158, 115], [240, 228, 66], [0, 114, 178], [213, 94, 0],
        [204, 121, 167],
        [148, 103, 189], [140, 86, 75], [188, 189, 34], [23, 190, 207], [255, 152, 150], [197, 176, 213],
        [152, 223, 138], [247, 182, 210], [127, 127, 127],
    ],
    np.uint8,
)  # fmt: skip
"""Tube k has colour k, over and over; the first seven can be told apart by colour-blind readers."""
STRENGTH = 0.45


def overlay(rgb: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Frame uint8 (H, W, 3) with its tubes int (H, W) in colour and outlined; -1 stays as it is."""
    there = labels >= 0
    colour = COLOURS[np.where(there, labels, 0) % len(COLOURS)]
    drawn = rgb.astype(np.float32)
    drawn[there] = (1 - STRENGTH) * drawn[there] + STRENGTH * colour[there]
    edge = np.zeros(labels.shape, bool)
    edge[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    edge[1:] |= labels[1:] != labels[:-1]
    drawn[edge & there] = colour[edge & there]
    return drawn.round().astype(np.uint8)


def data_uri(rgb: np.ndarray) -> str:
    """A picture uint8 (H, W, 3) as a PNG inside the page."""
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
