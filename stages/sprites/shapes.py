"""Outlines of objects in their own coordinates, where every shape fits into the unit circle."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
SHAPES = ("disc", "box", "star", "ring", "blob")


def inside(shape: str, u: Floats, v: Floats, bumps: Floats) -> NDArray[np.bool_]:
    """Which points (u, v) belong to ``shape``.

    Args:
        shape: one of `SHAPES`.
        u: first coordinate, 1 being the shape's radius.
        v: second coordinate.
        bumps: (n, 2) amplitudes and phases of a blob's outline; see `blob_bumps`.
    """
    if shape == "box":
        return np.maximum(np.abs(u), np.abs(v)) <= np.sqrt(0.5)
    square = u * u + v * v
    if shape == "disc":
        return square <= 1
    if shape == "ring":
        return (square <= 1) & (square >= 0.25)
    angle = np.arctan2(v, u)
    if shape == "star":
        radius = 0.7 + 0.3 * np.cos(5 * angle)
    elif shape == "blob":
        radius = np.full_like(angle, 1 - np.abs(bumps[:, 0]).sum())
        for order, (amplitude, phase) in enumerate(bumps, start=2):
            radius += amplitude * np.cos(order * angle + phase)
    else:
        raise ValueError(f"{shape!r} is none of {', '.join(SHAPES)}")
    return square <= radius * radius


def blob_bumps(rng: np.random.Generator) -> Floats:
    """Amplitudes and phases (3, 2) of waves 2, 3 and 4 around a blob."""
    return np.stack([0.05 + 0.09 * rng.random(3), 2 * np.pi * rng.random(3)], axis=1)
