"""The pictures of README and docs, from sprites only: ``python docs/make_images.py`` writes ``docs/images/``.

``sprites.png`` has, for three clips, four frames each; under them their instance masks, and under those the
`patchstats` features of every patch (colour, texture and motion) as red, green and blue: the first three
principal components over the clip.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from stages.features.backbone_spec import BackboneSpec
from stages.features.backbones.base import build
from stages.sprites.clip import SpriteClip, clip
from stages.sprites.palette import mask_palette
from stages.sprites.spec import SpritesSpec

SIDE, FRAMES, SHOWN, GAP, PATCH = 128, 24, 4, 4, 4
CLIPS = (("L2", 3), ("L3", 1), ("L4", 2))
TARGET = Path(__file__).parent / "images" / "sprites.png"


def components(made: SpriteClip) -> np.ndarray:
    """Features as pictures: uint8 (T, SIDE, SIDE, 3)."""
    facets = ("rgb", "texture", "flow")
    backbone = build(BackboneSpec(name="patchstats", stride=PATCH, facets=facets))
    found = backbone.extract(made.rgb)
    parts = [found[facet].astype(np.float64).reshape(-1, found[facet].shape[-1]) for facet in facets]
    values = np.concatenate(
        [(p - p.mean(0)) / (p.std(0) + 1e-6) / np.sqrt(p.shape[1]) for p in parts], axis=1
    )
    _, _, axes = np.linalg.svd(values, full_matrices=False)
    shown = values @ axes[:3].T
    low, high = np.percentile(shown, (2, 98), axis=0)
    small = (np.clip((shown - low) / (high - low), 0, 1) * 255).astype(np.uint8)
    rows, columns = backbone.grid(SIDE, SIDE)
    return small.reshape(FRAMES, rows, columns, 3).repeat(PATCH, 1).repeat(PATCH, 2)


def column(level: str, index: int) -> np.ndarray:
    """One clip: frames, masks and features, one under the other."""
    made = clip(SpritesSpec(level=level, size=(SIDE, SIDE), frames=FRAMES), index)
    masks = np.asarray(mask_palette(), np.uint8).reshape(-1, 3)[made.ids]
    chosen = np.linspace(0, FRAMES - 1, SHOWN).round().astype(int)
    rows = [
        np.concatenate(list(framed(part[chosen])), axis=1) for part in (made.rgb, masks, components(made))
    ]
    return np.concatenate(rows, axis=0)


def framed(pictures: np.ndarray) -> np.ndarray:
    """White edges to the right and below."""
    return np.pad(pictures, ((0, 0), (0, GAP), (0, GAP), (0, 0)), constant_values=255)


def main() -> None:
    """Write the picture."""
    gap = np.full((3 * (SIDE + GAP), 3 * GAP, 3), 255, np.uint8)
    parts = [part for level, index in CLIPS for part in (column(level, index), gap)]
    picture = np.concatenate(parts[:-1], axis=1)[:-GAP, :-GAP]
    TARGET.parent.mkdir(exist_ok=True)
    Image.fromarray(picture).quantize(256, dither=Image.Dither.NONE).save(TARGET, optimize=True)


if __name__ == "__main__":
    main()
