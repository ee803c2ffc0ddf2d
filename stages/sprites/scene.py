"""Drawing a scene by lot: which objects there are, what they and the background look like."""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.sprites.layout import Placement, place
from stages.sprites.motion import Path, drifting
from stages.sprites.palette import COLOURS
from stages.sprites.shapes import SHAPES, blob_bumps
from stages.sprites.spec import Knobs, Range, SpritesSpec
from stages.sprites.texture import Floats, coloured, shades, value_noise


@dataclass(frozen=True)
class Look:
    """What an object looks like and how it turns and swells.

    Attributes:
        texture: float32 (s, s, 3) in 0..255; its middle is the object's centre, one texel a pixel at scale 1.
        angle: rotation in radians at time 0, growing by ``spin`` per frame.
        swell: largest relative change of size; a wave of ``period`` frames from ``phase``.
    """

    shape: str
    colours: tuple[str, ...]
    radius: float
    texture: Floats
    bumps: NDArray[np.float64]
    angle: float
    spin: float
    swell: float
    period: float
    phase: float


@dataclass(frozen=True)
class Sprite:
    """One object: its look, its path and the role it plays."""

    look: Look
    path: Path
    role: str


@dataclass(frozen=True)
class Layer:
    """A moving background texture, float32 (h, w, 3); from time ``changes`` on it is ``changed``."""

    texture: Floats
    path: Path
    changed: Floats
    changes: float


@dataclass(frozen=True)
class Scene:
    """Everything to be seen. Sprites are in painting order: a later one hides those before it.

    Attributes:
        near: float32 (h, w, 1), above 0.5 where the first layer covers the second; None with one layer.
        light: relative amplitude, period in frames and phase of the change of brightness.
    """

    sprites: tuple[Sprite, ...]
    layers: tuple[Layer, ...]
    near: Floats | None
    light: tuple[float, float, float]


class Lots:
    """Independent random streams of one scene, so that turning one knob leaves the other draws alone."""

    def __init__(self, spec: SpritesSpec, index: int, part: int) -> None:
        self._key = (spec.seed, index, part)

    def stream(self, subject: str, number: int = 0) -> np.random.Generator:
        """The stream for one subject (and object ``number``)."""
        return np.random.default_rng([*self._key, zlib.crc32(subject.encode()), number])


def draw_scene(spec: SpritesSpec, index: int, part: int, frames: int) -> Scene:
    """Scene ``part`` of clip ``index``, made for ``frames`` frames."""
    knobs, lots = spec.knobs(), Lots(spec, index, part)
    count = max(
        int(lots.stream("count").integers(knobs.objects[0], knobs.objects[1] + 1)), knobs.least_objects()
    )
    names = _names(lots.stream("colours"), knobs.shared_palette > 0)
    shared = round(knobs.shared_palette * count)
    hidden = set(lots.stream("camouflage").permutation(count)[:shared].tolist())
    cell = max(3, min(spec.size) // 16)
    placements = place(spec, knobs, lots.stream("paths"), count, frames)
    looks = [
        _look(lots, number, names[:2] if number in hidden else (names[2 + number],), placement, knobs, cell)
        for number, placement in enumerate(placements)
    ]
    sprites = tuple(
        Sprite(looks[number if p.twin is None else p.twin], p.path, p.role)
        for number, p in enumerate(placements)
    )
    layers, near = _backdrop(
        spec, knobs, lots, names[:2] if knobs.shared_palette else names[:1], cell, frames
    )
    light = lots.stream("light")
    return Scene(
        sprites, layers, near, (knobs.lighting, 6 + 10 * light.random(), 2 * math.pi * light.random())
    )


def between(rng: np.random.Generator, limits: Range) -> float:
    """A number drawn evenly from ``limits``."""
    return float(limits[0] + (limits[1] - limits[0]) * rng.random())


def _names(rng: np.random.Generator, contrast: bool) -> tuple[str, ...]:
    """Colour names in random order; with ``contrast`` the first two, a palette, are far apart."""
    names = list(COLOURS)
    order = [names[i] for i in rng.permutation(len(names))]
    if contrast:
        first = np.array(COLOURS[order[0]])
        far = next(n for n in order[1:] if np.abs(np.array(COLOURS[n]) - first).sum() >= 200)
        order.remove(far)
        order.insert(1, far)
    return tuple(order)


def _surface(
    rng: np.random.Generator, colours: tuple[str, ...], size: tuple[int, int], knobs: Knobs, cell: int
) -> Floats:
    values = [COLOURS[name] for name in colours]
    if not knobs.textured:
        return np.full((*size, 3), values[0], np.float32)
    first, second = (values[0], values[1]) if len(values) > 1 else shades(values[0])
    return coloured(value_noise(rng, *size, cell), first, second)


def _look(
    lots: Lots, number: int, colours: tuple[str, ...], placement: Placement, knobs: Knobs, cell: int
) -> Look:
    rng = lots.stream("look", number)
    side = 2 * math.ceil(placement.radius) + 3
    return Look(
        shape=SHAPES[int(rng.integers(len(SHAPES)))],
        colours=colours,
        radius=placement.radius,
        angle=2 * math.pi * float(rng.random()),
        spin=math.radians(knobs.spin) * (2 * float(rng.random()) - 1),
        swell=knobs.scale * (0.5 + 0.5 * float(rng.random())),
        period=8 + 8 * float(rng.random()),
        phase=2 * math.pi * float(rng.random()),
        bumps=blob_bumps(rng),
        texture=_surface(rng, colours, (side, side), knobs, cell),
    )


def _backdrop(
    spec: SpritesSpec, knobs: Knobs, lots: Lots, colours: tuple[str, ...], cell: int, frames: int
) -> tuple[tuple[Layer, ...], Floats | None]:
    """The layers of the background, up to three frames wide and high, and where the first is in front."""
    rng = lots.stream("camera")
    speed = between(rng, knobs.pan)
    margin = min(math.ceil(knobs.pan[1] * (frames + 1)), max(spec.size))
    angle = 2 * math.pi * float(rng.random())
    extent = (spec.size[0] + 2 * margin + 1, spec.size[1] + 2 * margin + 1)
    layers = []
    for number in range(2 if knobs.parallax else 1):
        pace = speed / (number + 1)
        path = drifting((margin, margin), angle, pace, 0, ((0, 0), (2 * margin, 2 * margin)))
        texture = _surface(lots.stream("background", number), colours, extent, knobs, cell)
        changed = texture
        if knobs.distractors and number == 0:
            changed = _with_patch(
                texture, lots, path.at(np.array([frames / 2]))[0], spec, colours, knobs, cell
            )
        layers.append(Layer(texture, path, changed, float(frames // 2)))
    near = value_noise(lots.stream("near"), *extent, 3 * cell)[..., None] if knobs.parallax else None
    return tuple(layers), near


def _with_patch(
    texture: Floats, lots: Lots, corner: NDArray[np.float64], spec: SpritesSpec, colours: tuple[str, ...],
    knobs: Knobs, cell: int,
) -> Floats:  # fmt: skip
    """The texture with a disc of another texture, in view when the frame's corner is at ``corner`` of it."""
    rng = lots.stream("distractor")
    height, width = texture.shape[:2]
    x, y = corner + np.array(spec.size[::-1]) * (0.25 + 0.5 * rng.random(2))
    radius = between(rng, (0.12, 0.2)) * min(spec.size)
    other = _surface(rng, colours, (height, width), knobs, cell)
    rows, columns = np.ogrid[:height, :width]
    return np.where((((columns - x) ** 2 + (rows - y) ** 2) <= radius**2)[..., None], other, texture)
