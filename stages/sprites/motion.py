"""Where things are: exact paths as functions of time, so that flow is a difference of positions."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Point = tuple[float, float]


def fold(distance: Floats, low: float, high: float) -> Floats:
    """``distance`` on a stretch ``low..high`` with mirrors at finite ends: a triangle wave."""
    if math.isinf(low) or math.isinf(high):
        return distance
    length = high - low
    if length <= 0:
        return np.full_like(distance, low)
    return low + length - np.abs((distance - low) % (2 * length) - length)


@dataclass(frozen=True)
class Leg:
    """A motion to and fro along one direction."""

    direction: Point
    """Unit vector (x, y)."""
    speed: float
    """Pixels per frame."""
    zero: float
    """Time (in frames) at which the leg's distance is 0."""
    low: float = -math.inf
    """Where it turns back, in pixels along the direction; also ``high``."""
    high: float = math.inf


@dataclass(frozen=True)
class Path:
    """A position over time: an origin (x, y) in pixels and the legs added to it."""

    origin: Point
    legs: tuple[Leg, ...] = ()

    def at(self, times: Floats) -> Floats:
        """Positions (x, y) at ``times`` (n,) in frames, as float64 (n, 2)."""
        position = np.tile(np.array(self.origin, np.float64), (len(times), 1))
        for leg in self.legs:
            distance = fold(leg.speed * (times - leg.zero), leg.low, leg.high)
            position += distance[:, None] * np.array(leg.direction)
        return position


def heading(angle: float) -> Point:
    """The unit vector (x, y) of an angle in radians."""
    return math.cos(angle), math.sin(angle)


def drifting(start: Point, angle: float, speed: float, zero: float, box: tuple[Point, Point] | None) -> Path:
    """At ``start`` at time ``zero``, moving straight; mirrored at the sides of ``box`` (its corners)."""
    x, y = heading(angle)
    if box is None:
        return Path(start, (Leg((x, y), speed, zero),))
    (left, top), (right, bottom) = box
    return Path(
        start,
        (
            Leg((1.0, 0.0), speed * x, zero, left - start[0], right - start[0]),
            Leg((0.0, 1.0), speed * y, zero, top - start[1], bottom - start[1]),
        ),
    )


def swinging(centre: Point, angle: float, speed: float, zero: float, reach: float) -> Path:
    """Through ``centre`` at time ``zero``, turning back ``reach`` pixels before and behind it."""
    return Path(centre, (Leg(heading(angle), speed, zero, -reach, reach),))


def visiting(outside: Point, angle: float, speed: float, zero: float, depth: float) -> Path:
    """At ``outside`` at time ``zero``, coming from and going to a turning point ``depth`` pixels inside."""
    return Path(outside, (Leg(heading(angle), speed, zero, 0.0, depth),))
