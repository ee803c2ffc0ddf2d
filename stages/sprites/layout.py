"""Placing objects by lot: sizes, and paths that keep what the knobs promise."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from stages.sprites.motion import Path, Point, drifting, heading, swinging, visiting
from stages.sprites.spec import Knobs, SpritesSpec


@dataclass(frozen=True)
class Placement:
    """Size and path of one object. ``twin`` is the number of the object whose look it has, if any."""

    radius: float
    path: Path
    role: str
    twin: int | None = None


def place(
    spec: SpritesSpec, knobs: Knobs, rng: np.random.Generator, count: int, frames: int
) -> list[Placement]:
    """Sizes and paths of ``count`` objects over ``frames`` frames."""
    sides = rng.random(count) * (knobs.object_size[1] - knobs.object_size[0]) + knobs.object_size[0]
    radii = sides * min(spec.size) / 2
    if knobs.occlusion == "none":
        return _in_cells(spec, knobs, rng, radii, frames)
    order = rng.permutation(count).tolist()
    found: dict[int, Placement] = {}
    if knobs.twins or knobs.occlusion == "forced":
        first, second = order[:2]
        order = order[2:]
        if knobs.twins:
            radii[second] = radii[first]
        paths = _crossing(spec, knobs, rng, float(max(radii[first], radii[second])), frames)
        role = "twin" if knobs.twins else "crossing"
        found[first] = Placement(float(radii[first]), paths[0], role)
        found[second] = Placement(float(radii[second]), paths[1], role, first if knobs.twins else None)
    for place_in_order, number in enumerate(order):
        radius = float(radii[number])
        comes_and_goes = knobs.enter_leave and (rng.random() < 0.5 or place_in_order == 0)
        if comes_and_goes:
            role = ("enters", "leaves", "returns")[int(rng.integers(3))]
            found[number] = Placement(radius, _visit(spec, knobs, rng, radius, frames, role), role)
        else:
            found[number] = Placement(radius, _drift(spec, knobs, rng, radius, frames), "drifts")
    return [found[number] for number in range(count)]


def _speed(knobs: Knobs, rng: np.random.Generator) -> float:
    return float(knobs.speed[0] + (knobs.speed[1] - knobs.speed[0]) * rng.random())


def _angle(rng: np.random.Generator) -> float:
    return 2 * math.pi * float(rng.random())


def _within(rng: np.random.Generator, box: tuple[Point, Point]) -> Point:
    (left, top), (right, bottom) = box
    return left + (right - left) * float(rng.random()), top + (bottom - top) * float(rng.random())


def _drift(spec: SpritesSpec, knobs: Knobs, rng: np.random.Generator, radius: float, frames: int) -> Path:
    """A straight path that stays in view as long as the clip lasts, where the frame is wide enough."""
    height, width = spec.size
    reach = radius * (1 + knobs.scale)
    box = ((reach, reach), (width - 1 - reach, height - 1 - reach))
    angle, speed, middle = _angle(rng), _speed(knobs, rng), frames // 2
    sides = [
        _stretch(low, high, -part * speed * middle, part * speed * (frames - 1 - middle))
        for low, high, part in zip(*box, heading(angle), strict=True)
    ]
    start = _within(rng, ((sides[0][0], sides[1][0]), (sides[0][1], sides[1][1])))
    return drifting(start, angle, speed, middle, box if knobs.bounce else None)


def _stretch(low: float, high: float, *moves: float) -> tuple[float, float]:
    """The part of low..high from which no move leads out of it, or all of it where there is none."""
    first, last = low - min(0.0, *moves), high - max(0.0, *moves)
    return (first, last) if first <= last else (low, high)


def _crossing(
    spec: SpritesSpec, knobs: Knobs, rng: np.random.Generator, radius: float, frames: int
) -> tuple[Path, Path]:
    """Two paths through one point half-way, fast enough for the objects to be apart at both ends."""
    height, width = spec.size
    centre = _within(rng, ((0.4 * width, 0.4 * height), (0.6 * width, 0.6 * height)))
    middle = (frames - 1) // 2
    first = _angle(rng)
    turn = math.pi * (0.5 + 0.5 * float(rng.random()))
    apart = (radius * (1 + knobs.scale) + 1) / (max(1, middle) * math.sin(turn / 2))
    reach = max(2 * radius + 2, 0.4 * min(spec.size) - radius) if knobs.bounce else math.inf
    fast, faster = (max(_speed(knobs, rng), apart) for _ in range(2))
    return (
        swinging(centre, first, fast, middle, reach),
        swinging(centre, first + turn, faster, middle, reach),
    )


def _visit(
    spec: SpritesSpec, knobs: Knobs, rng: np.random.Generator, radius: float, frames: int, role: str
) -> Path:
    """A path that is out of sight at the first frame, the last, or half-way, and in sight otherwise."""
    height, width = spec.size
    beyond = radius * (1 + knobs.scale) + 1
    side = int(rng.integers(4))
    inward = side * math.pi / 2
    x, y = _within(rng, ((0.25 * width, 0.25 * height), (0.75 * width, 0.75 * height)))
    outside = ((-beyond, y), (x, -beyond), (width - 1 + beyond, y), (x, height - 1 + beyond))[side]
    angle = inward + math.radians(60) * (float(rng.random()) - 0.5)
    along = abs(math.cos(angle - inward))
    speed = max(_speed(knobs, rng), (beyond + 1) / (max(1, frames // 2) * along))
    zero = {"enters": 0, "leaves": frames - 1, "returns": frames // 2}[role]
    depth = (beyond + 0.5 * abs(heading(inward)[0] * width + heading(inward)[1] * height)) / along
    return visiting(outside, angle, speed, zero, depth)


def _in_cells(
    spec: SpritesSpec, knobs: Knobs, rng: np.random.Generator, radii: np.ndarray, frames: int
) -> list[Placement]:
    """Each object drifts to and fro in a cell of a grid, made smaller where it would not fit."""
    height, width = spec.size
    grid = math.ceil(math.sqrt(len(radii)))
    tall, wide = height / grid, width / grid
    found = []
    for cell, drawn in zip(rng.permutation(grid * grid).tolist(), radii.tolist(), strict=False):
        radius = min(drawn, 0.45 * (min(tall, wide) - 1) / (1 + knobs.scale))
        reach = radius * (1 + knobs.scale)
        left, top = cell % grid * wide, cell // grid * tall
        box = ((left + reach, top + reach), (left + wide - 1 - reach, top + tall - 1 - reach))
        path = drifting(_within(rng, box), _angle(rng), _speed(knobs, rng), frames // 2, box)
        found.append(Placement(radius, path, "drifts"))
    return found
