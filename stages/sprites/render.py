"""A scene at given times as pixels, and as the ids and the motion of what each pixel shows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.sprites.scene import Layer, Scene, Sprite
from stages.sprites.shapes import inside
from stages.sprites.texture import Floats, sample, window

Times = NDArray[np.float64]
_EXPOSURES = 4


@dataclass(frozen=True)
class _Cover:
    """The pixels that a sprite covers at some times, as flat lists, and where on the sprite they lie.

    Attributes:
        at: index arrays (frame, y, x).
        along: position on the sprite in pixels at scale 1, x and y, from its centre.
    """

    at: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]
    along: tuple[Times, Times]


def paint(scene: Scene, times: Times, size: tuple[int, int], shutter: float = 0.0) -> NDArray[np.uint8]:
    """The frames at ``times``, uint8 (T, H, W, 3); the shutter stays open for ``shutter`` frame intervals."""
    rgb = _expose(scene, times, size)
    if shutter > 0:
        for exposure in range(1, _EXPOSURES):
            rgb += _expose(scene, times + shutter * exposure / (_EXPOSURES - 1), size)
        rgb /= _EXPOSURES
    amplitude, period, phase = scene.light
    if amplitude:
        gain = 1 + amplitude * np.sin(2 * np.pi * times / period + phase)
        rgb *= gain.astype(np.float32)[:, None, None, None]
    return np.clip(np.rint(rgb), 0, 255).astype(np.uint8)


def trace(scene: Scene, times: Times, size: tuple[int, int]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Ids (T, H, W), by painting order from 1, and flow (T-1, H, W, 2) from each of ``times`` to the next."""
    ids = np.zeros((len(times), *size), np.uint8)
    flow = _background_flow(scene, times, size)
    for number, (sprite, cover) in enumerate(_covers(scene, times, size), start=1):
        ids[cover.at] = number
        centre, turn, scale = _pose(sprite, times)
        t, y, x = cover.at
        moving = t < len(times) - 1
        t, y, x = t[moving], y[moving], x[moving]
        u, v = cover.along[0][moving], cover.along[1][moving]
        cos, sin, grown = np.cos(turn)[t + 1], np.sin(turn)[t + 1], scale[t + 1]
        flow[t, y, x, 0] = centre[t + 1, 0] + grown * (cos * u - sin * v) - x
        flow[t, y, x, 1] = centre[t + 1, 1] + grown * (sin * u + cos * v) - y
    return ids, flow


def _expose(scene: Scene, times: Times, size: tuple[int, int]) -> Floats:
    rgb = _background(scene, times, size)
    for sprite, cover in _covers(scene, times, size):
        middle = (sprite.look.texture.shape[0] - 1) / 2
        rgb[cover.at] = sample(sprite.look.texture, middle + cover.along[0], middle + cover.along[1])
    return rgb


def _covers(scene: Scene, times: Times, size: tuple[int, int]) -> Iterator[tuple[Sprite, _Cover]]:
    for sprite in scene.sprites:
        yield sprite, _cover(sprite, times, size)


def _pose(sprite: Sprite, times: Times) -> tuple[Times, Times, Times]:
    """Centre (T, 2), angle (T,) in radians and scale (T,)."""
    look = sprite.look
    scale = 1 + look.swell * np.sin(2 * np.pi * times / look.period + look.phase)
    return sprite.path.at(times), look.angle + look.spin * times, scale


def _cover(sprite: Sprite, times: Times, size: tuple[int, int]) -> _Cover:
    """Computed for all times at once, on a window around the centre."""
    look = sprite.look
    centre, turn, scale = _pose(sprite, times)
    half = int(np.ceil(look.radius * scale.max())) + 1
    around = np.arange(-half, half + 1)
    x = np.rint(centre[:, 0]).astype(np.int64)[:, None] + around
    y = np.rint(centre[:, 1]).astype(np.int64)[:, None] + around
    dx = (x - centre[:, :1])[:, None, :]
    dy = (y - centre[:, 1:])[:, :, None]
    cos, sin = (f(turn)[:, None, None] / scale[:, None, None] for f in (np.cos, np.sin))
    u, v = cos * dx + sin * dy, cos * dy - sin * dx
    seen = inside(look.shape, u / look.radius, v / look.radius, look.bumps)
    seen &= ((x >= 0) & (x < size[1]))[:, None, :] & ((y >= 0) & (y < size[0]))[:, :, None]
    t, i, j = np.nonzero(seen)
    return _Cover((t, y[t, i], x[t, j]), (u[t, i, j], v[t, i, j]))


def _background(scene: Scene, times: Times, size: tuple[int, int]) -> Floats:
    shown = [_layer(layer, times, size) for layer in scene.layers]
    if scene.near is None:
        return shown[0]
    return np.where(_near(scene.near, scene.layers[0], times, size), shown[0], shown[1])


def _layer(layer: Layer, times: Times, size: tuple[int, int]) -> Floats:
    shown = np.empty((len(times), *size, 3), np.float32)
    for number, (time, corner) in enumerate(zip(times, layer.path.at(times), strict=True)):
        texture = layer.changed if time >= layer.changes else layer.texture
        shown[number] = window(texture, corner[0], corner[1], *size)
    return shown


def _near(near: Floats, layer: Layer, times: Times, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Where the near layer covers the far one, bool (T, H, W, 1)."""
    return np.stack([window(near, x, y, *size) > 0.5 for x, y in layer.path.at(times)])


def _background_flow(scene: Scene, times: Times, size: tuple[int, int]) -> NDArray[np.float32]:
    steps = [-np.diff(layer.path.at(times), axis=0)[:, None, None, :] for layer in scene.layers]
    if scene.near is None:
        return np.broadcast_to(steps[0], (len(times) - 1, *size, 2)).astype(np.float32)
    near = _near(scene.near, scene.layers[0], times[:-1], size)
    return np.where(near, steps[0], steps[1]).astype(np.float32)
