"""An offline family: mean colour, position, texture and motion of every patch, without learned weights.

All sums are exact in integers, so the result is the same bytes for any batch, thread count and machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from stages.errors import SettingsError
from stages.features.backbone_spec import BackboneSpec
from stages.features.backbones.table import KNOWN

Array = np.ndarray

PARTS = ("rgb", "position", "texture", "flow")
FREQUENCIES = ((0, 1), (1, 0), (1, 1), (0, 2), (2, 0))
"""(vertical, horizontal) frequencies of the cosine transform that ``texture`` holds."""
TEXTURE_UNIT = 64.0
"""Grey levels that make 1.0 in ``texture``."""
DCT_SCALE = 1 << 12
STILLNESS = 16
"""Cost, per pixel of the matching window and step of displacement, of claiming motion: 1/4 grey level."""


@dataclass(frozen=True)
class PatchStats:
    """See `Backbone`. Facets, concatenated in this order in ``tokens`` (14 channels):

    * ``rgb`` (3): mean red, green and blue in [0, 1];
    * ``position`` (2): row and column of the patch's centre in [0, 1];
    * ``texture`` (7): five low frequencies of the orthonormal cosine transform of the luminance (divided by
      the patch side), then its mean absolute vertical and horizontal difference; unit: 64 grey levels;
    * ``flow`` (2): vertical and horizontal motion since the previous frame, in patch sides, by block
      matching on half-resolution luminance over -1..1 patch sides with a window of 3 x 3 patches weighted
      1-2-1. The first frame of a video has the motion that leads to the second one; a video of one frame
      has none (0).

    Args:
        spec: ``stride`` is the patch side in pixels.
    """

    spec: BackboneSpec
    weights_digest: str = ""

    @property
    def patch(self) -> int:
        """Side of a patch in pixels."""
        return self.spec.stride or KNOWN["patchstats"].patch

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """See `Backbone.grid`."""
        if height % self.patch or width % self.patch:
            raise SettingsError(
                f"frames of {height}x{width} pixels are not whole patches: patchstats needs multiples "
                f"of {self.patch}"
            )
        return height // self.patch, width // self.patch

    def extract(self, rgb: Array, previous: Array | None = None) -> dict[str, Array]:
        """See `Backbone.extract`."""
        rows, columns = self.grid(rgb.shape[1], rgb.shape[2])
        wanted = set(PARTS) if "tokens" in self.spec.facets else set(self.spec.facets)
        parts: dict[str, Array] = {}
        if "rgb" in wanted:
            parts["rgb"] = _blocks(rgb.astype(np.int32), self.patch) / np.float32(self.patch**2 * 255)
        if "position" in wanted:
            parts["position"] = _positions(len(rgb), rows, columns)
        if "texture" in wanted:
            parts["texture"] = _texture(luminance(rgb), self.patch)
        if "flow" in wanted:
            parts["flow"] = motion(rgb, previous, self.patch)
        if "tokens" in self.spec.facets:
            parts["tokens"] = np.concatenate([parts[part] for part in PARTS], axis=-1)
        return {
            facet: parts[facet].reshape(len(rgb), rows * columns, -1).astype(np.float16)
            for facet in self.spec.facets
        }


def luminance(rgb: Array) -> Array:
    """Integer luminance (B, H, W) int32 in 0..255 of (B, H, W, 3) uint8."""
    red, green, blue = (rgb[..., channel].astype(np.int32) for channel in range(3))
    return (77 * red + 150 * green + 29 * blue) >> 8


def motion(rgb: Array, previous: Array | None, patch: int) -> Array:
    """Motion of every patch in patch sides: (B, rows, columns, 2) float32, see `PatchStats`."""
    half = _half(luminance(rgb))
    if previous is not None:
        before = _half(luminance(previous[None]))
    else:
        before = half[1:2] if len(half) > 1 else half
    found = -_displacement(half, np.concatenate([before, half[:-1]]), patch // 2)
    if previous is None:
        found[0] *= -1
    return found / np.float32(patch // 2)


def _displacement(frames: Array, others: Array, side: int) -> Array:
    """Where each block of ``frames`` (B, h, w) lies best in ``others``, in pixels of that resolution."""
    height, width = frames.shape[1:]
    padded = np.pad(others, ((0, 0), (side, side), (side, side)), mode="edge")
    shape = (len(frames), height // side, width // side)
    best_cost = np.full(shape, np.iinfo(np.int32).max, np.int32)
    best = np.zeros((*shape, 2), np.int32)
    for dy, dx in _candidates(side):
        moved = padded[:, side + dy : side + dy + height, side + dx : side + dx + width]
        difference = np.abs(frames - moved)
        cost = _window(_blocks(difference[..., None], side)[..., 0])
        cost += STILLNESS * side * side * (abs(dy) + abs(dx))
        better = cost < best_cost
        best_cost[better] = cost[better]
        best[better] = (dy, dx)
    return best


@lru_cache(maxsize=8)
def _candidates(radius: int) -> list[tuple[int, int]]:
    """Displacements within ``radius``, the smallest first, so that ties go to the smaller motion."""
    steps = range(-radius, radius + 1)
    return sorted(((dy, dx) for dy in steps for dx in steps), key=lambda d: (abs(d[0]) + abs(d[1]), d))


def _window(cost: Array) -> Array:
    """Costs (B, rows, columns) summed over 3 x 3 patches with weights 1-2-1 both ways."""
    return _weighted(_weighted(cost).swapaxes(1, 2)).swapaxes(1, 2)


def _weighted(cost: Array) -> Array:
    """Sums over three neighbours along axis 1 with weights 1-2-1; beyond the border, the border's value."""
    sums = 2 * cost
    sums[:, 1:] += cost[:, :-1]
    sums[:, :-1] += cost[:, 1:]
    sums[:, 0] += cost[:, 0]
    sums[:, -1] += cost[:, -1]
    return sums


def _half(values: Array) -> Array:
    """Sums of 2 x 2 pixels: (B, H / 2, W / 2) int16 in units of a quarter grey level."""
    sums = values[:, ::2, ::2] + values[:, 1::2, ::2] + values[:, ::2, 1::2] + values[:, 1::2, 1::2]
    return sums.astype(np.int16)


def _blocks(values: Array, side: int) -> Array:
    """Sums over blocks of ``side`` x ``side`` pixels: (B, H, W, C) to (B, rows, columns, C) int32."""
    columns = values[:, :, ::side].astype(np.int32)
    for offset in range(1, side):
        columns += values[:, :, offset::side]
    sums = columns[:, ::side].copy()
    for offset in range(1, side):
        sums += columns[:, offset::side]
    return sums


def _positions(frames: int, rows: int, columns: int) -> Array:
    y = (np.arange(rows, dtype=np.float32) + np.float32(0.5)) / np.float32(rows)
    x = (np.arange(columns, dtype=np.float32) + np.float32(0.5)) / np.float32(columns)
    grid = np.stack(np.broadcast_arrays(y[:, None], x[None, :]), axis=-1)
    return np.broadcast_to(grid, (frames, rows, columns, 2))


def _texture(light: Array, patch: int) -> Array:
    """``texture`` of luminance (B, H, W): (B, rows, columns, 7) float32."""
    frames, height, width = light.shape
    shape = (frames, height // patch, patch, width // patch, patch)
    tiles = light.reshape(shape).transpose(0, 1, 3, 2, 4).reshape(-1, patch * patch)
    # Integers below 2**53: the float64 product is exact in whatever order it is summed.
    waves = (tiles.astype(np.float64) @ _basis(patch)).reshape(frames, shape[1], shape[3], -1)
    steps = np.zeros((frames, height, width, 2), np.int32)
    steps[:, :-1, :, 0] = np.abs(light[:, 1:] - light[:, :-1])
    steps[:, :, :-1, 1] = np.abs(light[:, :, 1:] - light[:, :, :-1])
    return np.concatenate(
        [
            (waves / (DCT_SCALE * patch * TEXTURE_UNIT)).astype(np.float32),
            _blocks(steps, patch) / np.float32(patch * patch * TEXTURE_UNIT),
        ],
        axis=-1,
    )


@lru_cache(maxsize=8)
def _basis(patch: int) -> Array:
    """Cosine basis (patch * patch, 5), rounded to whole multiples of 1 / 4096."""
    place = (np.arange(patch) + 0.5) * np.pi / patch
    waves = [np.cos(place * k) * np.sqrt((2.0 if k else 1.0) / patch) for k in range(3)]
    columns = [np.outer(waves[v], waves[h]).ravel() for v, h in FREQUENCIES]
    return np.rint(np.stack(columns, axis=1) * DCT_SCALE)
