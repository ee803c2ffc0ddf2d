"""Tubes drawn on frames."""

from __future__ import annotations

import base64
import io
from collections.abc import Collection, Iterable

import numpy as np
from PIL import Image
from scipy.ndimage import distance_transform_edt

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


GREY = np.array([150, 150, 150], np.uint8)
"""Of tubes that no name fits."""
_LEAST = 0.01
"""Share of a picture that a tube fills at least to be called by name there."""


def colour(tube: int, grey: Collection[int] = ()) -> np.ndarray:
    """The colour uint8 (3,) of a tube; tubes in ``grey`` are grey."""
    found: np.ndarray = GREY if tube in grey else COLOURS[tube % len(COLOURS)]
    return found


def overlay(rgb: np.ndarray, labels: np.ndarray, grey: Collection[int] = ()) -> np.ndarray:
    """Frame uint8 (H, W, 3) with its tubes int (H, W) in colour and outlined; -1 stays as it is."""
    there = labels >= 0
    numbers, places = np.unique(labels, return_inverse=True)
    paint = np.stack([colour(number, grey) for number in numbers.tolist()])[places.reshape(labels.shape)]
    drawn = rgb.astype(np.float32)
    drawn[there] = (1 - STRENGTH) * drawn[there] + STRENGTH * paint[there]
    edge = np.zeros(labels.shape, bool)
    edge[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    edge[1:] |= labels[1:] != labels[:-1]
    drawn[edge & there] = paint[edge & there]
    return drawn.round().astype(np.uint8)


def places(labels: np.ndarray, tubes: Iterable[int]) -> dict[int, tuple[float, float]]:
    """Where names go: for every tube the point of its pixels, int (H, W), that is farthest from others.

    Returns:
        ``(x, y)`` in [0, 1] from the upper left, of those of ``tubes`` that fill enough of the picture.
    """
    found = {}
    for tube in tubes:
        mine = np.pad(labels == tube, 1)
        if mine.mean() >= _LEAST:
            row, column = np.unravel_index(int(distance_transform_edt(mine).argmax()), mine.shape)
            found[tube] = (
                (float(column) - 0.5) / labels.shape[1],
                (float(row) - 0.5) / labels.shape[0],
            )
    return found


def data_uri(rgb: np.ndarray) -> str:
    """A picture uint8 (H, W, 3) as a PNG inside the page."""
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
