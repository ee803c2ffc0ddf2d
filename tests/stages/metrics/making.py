"""Small label maps for the tests of metrics."""

from __future__ import annotations

import numpy as np

from stages.metrics.protocols import score


def rows(*frames: str) -> np.ndarray:
    """A label map from a string per frame, one row of pixels each: digits are ids, ``.`` is -1."""
    return np.array([[[-1 if pixel == "." else int(pixel) for pixel in frame]] for frame in frames])


def values(name, prediction, truth, void=None, **options):
    """The values of one protocol, by object."""
    from stages.metrics.protocols import ScoreOptions

    return {s.object: s.value for s in score([name], prediction, truth, void, ScoreOptions(**options))}


def blobs(seed: int, frames: int = 6, size: tuple[int, int] = (40, 56), objects: int = 3) -> np.ndarray:
    """Object ids 1..n that move, int64 (T, H, W)."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[: size[0], : size[1]]
    centres = random.uniform((8, 8), (size[0] - 8, size[1] - 8), (objects, 2))
    speed, radii = random.uniform(-2, 2, (objects, 2)), random.uniform(5, 9, objects)
    truth = np.zeros((frames, *size), np.int64)
    for t in range(frames):
        for k in range(objects):
            cy, cx = centres[k] + t * speed[k]
            truth[t][(y - cy) ** 2 + (x - cx) ** 2 < radii[k] ** 2] = k + 1
    return truth


def shaken(truth: np.ndarray, by: int = 2) -> np.ndarray:
    """Tubes 0..n that follow ``truth`` with an error of ``by`` pixels; the background is tube 0."""
    return np.roll(truth, by, axis=(1, 2))
