"""Surfaces: value noise in two colours, and bilinear reading of it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Colour = tuple[int, int, int]


def value_noise(rng: np.random.Generator, height: int, width: int, cell: int) -> Floats:
    """Smooth random values (height, width), each of 0..1 equally frequent, with features of ``cell`` pixels.

    Equal frequency makes any two surfaces in the same two colours agree in their histograms.
    """
    noise = _smooth(rng, height, width, cell)
    noise += 0.35 * _smooth(rng, height, width, max(2, cell // 2))
    ranks = np.empty(noise.size, np.float32)
    ranks[np.argsort(noise, axis=None, kind="stable")] = np.linspace(0, 1, noise.size, dtype=np.float32)
    return ranks.reshape(height, width)


def _smooth(rng: np.random.Generator, height: int, width: int, cell: int) -> Floats:
    grid = rng.random((height // cell + 2, width // cell + 2), dtype=np.float32)
    rows, row_share = _steps(height, cell)
    columns, column_share = _steps(width, cell)
    tall = grid[rows] + (grid[rows + 1] - grid[rows]) * row_share[:, None]
    return tall[:, columns] + (tall[:, columns + 1] - tall[:, columns]) * column_share


def _steps(length: int, cell: int) -> tuple[NDArray[np.int64], Floats]:
    at = np.arange(length)
    share = (at % cell / cell).astype(np.float32)
    return at // cell, share * share * (3 - 2 * share)


def coloured(noise: Floats, first: Colour, second: Colour) -> Floats:
    """Noise (h, w) in 0..1 as colours from ``first`` to ``second``, float32 (h, w, 3) in 0..255."""
    a, b = np.array(first, np.float32), np.array(second, np.float32)
    return a + noise[..., None] * (b - a)


def shades(colour: Colour) -> tuple[Colour, Colour]:
    """A darker and a lighter shade of a colour."""
    dark = tuple(round(c * 0.75) for c in colour)
    light = tuple(round(c + (255 - c) * 0.2) for c in colour)
    return (dark[0], dark[1], dark[2]), (light[0], light[1], light[2])


def sample(texture: Floats, x: NDArray[np.float64], y: NDArray[np.float64]) -> Floats:
    """Colours at points (x, y) in texture pixels, bilinear, the border repeated: float32 (..., 3)."""
    height, width = texture.shape[:2]
    x = np.clip(x, 0, width - 1)
    y = np.clip(y, 0, height - 1)
    left = np.minimum(x.astype(np.int64), max(width - 2, 0))
    top = np.minimum(y.astype(np.int64), max(height - 2, 0))
    across = (x - left).astype(np.float32)[..., None]
    down = (y - top).astype(np.float32)[..., None]
    flat = texture.reshape(-1, texture.shape[-1])
    at = top * width + left
    upper = flat[at] + (flat[at + 1] - flat[at]) * across
    lower = flat[at + width] + (flat[at + width + 1] - flat[at + width]) * across
    return upper + (lower - upper) * down


def window(texture: Floats, x: float, y: float, height: int, width: int) -> Floats:
    """The part of a texture whose top left corner lies at (x, y), bilinear: float32 (height, width, 3)."""
    left, top = int(np.floor(x)), int(np.floor(y))
    across, down = np.float32(x - left), np.float32(y - top)
    part = texture[top : top + height + 1, left : left + width + 1]
    tall = part[:height] + (part[1:] - part[:height]) * down if down else part[:height]
    return tall[:, :width] + (tall[:, 1:] - tall[:, :width]) * across if across else tall[:, :width]
