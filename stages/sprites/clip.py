"""One clip by its address: pixels, instance ids, exact flow, and what the objects are called."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.sprites.render import paint, trace
from stages.sprites.scene import Scene, draw_scene
from stages.sprites.spec import SpritesSpec


@dataclass(frozen=True)
class SpriteClip:
    """A clip of T frames.

    Attributes:
        rgb: uint8 (T, H, W, 3).
        ids: uint8 (T, H, W); 0 is background.
        flow: float32 (T-1, H, W, 2): what is seen at (x, y) in frame t is at (x, y) + flow[t, y, x] in frame
            t+1, in view or not, hidden or not. Pixels, x first. NaN across a cut, where nothing corresponds.
        objects: one dict per object: ``id``, ``shape``, ``colour`` (its name), ``colours`` (its palette),
            ``radius`` (pixels), ``role``, ``twin`` (id of the object that looks the same, or None) and
            ``pixels`` (how many are seen in each frame).
    """

    rgb: NDArray[np.uint8]
    ids: NDArray[np.uint8]
    flow: NDArray[np.float32]
    objects: list[dict[str, Any]]


def clip(spec: SpritesSpec, index: int) -> SpriteClip:
    """Clip ``index`` of the set: always the same pixels for the same spec and index.

    Raises:
        ValueError: a negative index.
    """
    if index < 0:
        raise ValueError(f"clip index {index} is negative")
    if not spec.knobs().cut:
        return _shot(spec, index, 0, spec.frames, 0)
    half = spec.frames // 2
    first = _shot(spec, index, 0, half, 0)
    second = _shot(spec, index, 1, spec.frames - half, len(first.objects))
    return _join(first, second)


def _shot(spec: SpritesSpec, index: int, part: int, frames: int, known: int) -> SpriteClip:
    scene = draw_scene(spec, index, part, frames)
    times = np.arange(frames, dtype=np.float64)
    rgb = paint(scene, times, spec.size, spec.knobs().motion_blur)
    ids, flow = trace(scene, times, spec.size)
    ids[ids > 0] += known
    return SpriteClip(rgb, ids, flow, _describe(scene, ids, known))


def _describe(scene: Scene, ids: NDArray[np.uint8], known: int) -> list[dict[str, Any]]:
    counts = np.stack([np.bincount(frame.ravel(), minlength=256) for frame in ids])
    twins = [known + n for n, sprite in enumerate(scene.sprites, start=1) if sprite.role == "twin"]
    return [
        {
            "id": known + number,
            "shape": sprite.look.shape,
            "colour": sprite.look.colours[0],
            "colours": list(sprite.look.colours),
            "radius": round(sprite.look.radius, 3),
            "role": sprite.role,
            "twin": next((t for t in twins if t != known + number), None) if sprite.role == "twin" else None,
            "pixels": counts[:, known + number].tolist(),
        }
        for number, sprite in enumerate(scene.sprites, start=1)
    ]


def _join(first: SpriteClip, second: SpriteClip) -> SpriteClip:
    gap = np.full((1, *first.ids.shape[1:], 2), np.nan, np.float32)
    before, after = len(first.ids), len(second.ids)
    return SpriteClip(
        np.concatenate([first.rgb, second.rgb]),
        np.concatenate([first.ids, second.ids]),
        np.concatenate([first.flow, gap, second.flow]),
        [{**o, "pixels": o["pixels"] + [0] * after} for o in first.objects]
        + [{**o, "pixels": [0] * before + o["pixels"]} for o in second.objects],
    )
