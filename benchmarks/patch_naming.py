"""How well pooled patches of the CLIP of ``clip_sprites`` name sprites: as they are, and adapted.

Each object of held-out clips (of another seed than any training's) is named by the patches whose centres lie
in its exact mask, summed over the clip's frames, as the pipeline pools them over a tube. Asked is the colour,
and colour and shape. Crops around the same masks stand beside them. Prints JSON, one line per look, level
and size.

``python benchmarks/patch_naming.py CLIP BRANCH`` takes half a minute.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from pycocotools import mask as coco
from torch.nn import functional as F

from stages.decode.spec import Geometry
from stages.labeling.branch_files import load_branch
from stages.labeling.clip_model import ClipModel, load_clip
from stages.labeling.clip_patches import PatchTower
from stages.labeling.clip_spec import ClipSpec
from stages.labeling.crop_box import tight_box
from stages.labeling.looks import Crops, Look, Patches, Seen
from stages.labeling.naming import text_logits
from stages.labeling.sprites_clip import PAIRS
from stages.sprites.clip import SpriteClip, clip
from stages.sprites.palette import COLOURS
from stages.sprites.spec import SpritesSpec

SEED = 7001
CLIPS = 60
FRAMES = 8
SIDE = 64
PROMPT = "a photo of a {}"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clip", help="artifact of clip_sprites")
    parser.add_argument("branch", type=Path, help="artifact of adapt_sprites")
    parser.add_argument(
        "--sizes", type=int, nargs="+", default=[64, 96], help="frames that patches are seen in"
    )
    args = parser.parse_args()
    torch.set_num_threads(1)
    spec = ClipSpec(model=args.clip)
    model = load_clip(spec)
    tower = PatchTower(model.visual)
    branch = load_branch(args.branch, tower, spec)
    for level in ("L0", "L2"):
        made = [clip(SpritesSpec(level=level, seed=SEED, frames=FRAMES), index) for index in range(CLIPS)]
        report("crops", level, SIDE, model, Crops(model, 0.0, Geometry()), made)
        for side in args.sizes:
            geometry = Geometry((side, side))
            report("vanilla", level, side, model, Patches(model, tower, None, False, geometry), made)
            report("adapted", level, side, model, Patches(model, tower, branch, False, geometry), made)


def report(name: str, level: str, side: int, model: ClipModel, look: Look, made: list[SpriteClip]) -> None:
    """Print a look's accuracies as a JSON line."""
    colours = list(COLOURS)
    texts = [model.text_features([PROMPT.format(w) for w in words]) for words in (colours, PAIRS)]
    right: list[tuple[bool, bool]] = []
    truth: list[str] = []
    for one in made:
        sums = pooled(one, look, side)
        for thing in one.objects:
            if (vector := sums.get(thing["id"])) is not None:
                colour, pair = (int(text_logits(vector[None], text).argmax()) for text in texts)
                truth.append(thing["colour"])
                right.append((colours[colour] == truth[-1], PAIRS[pair] == f"{truth[-1]} {thing['shape']}"))
    colour, pair = 100 * np.mean(right, axis=0)
    majority = max(truth.count(word) for word in colours) / len(truth)
    print(
        json.dumps({
            "look": name, "level": level, "size": side, "objects": len(right), "colour": round(colour, 1),
            "chance": round(100 / len(colours), 1), "majority": round(100 * majority, 1),
            "pair": round(pair, 1),
        }),
        flush=True,
    )  # fmt: skip


def pooled(one: SpriteClip, look: Look, side: int) -> dict[int, torch.Tensor]:
    """What a look sees of every object of a clip, float32 (E,), summed over the frames."""
    found: dict[int, torch.Tensor] = {}
    for numbers, vectors in look.vectors(frames(one, side)):
        for number, vector in zip(numbers, vectors, strict=True):
            found[number] = found.get(number, torch.zeros_like(vector)) + vector
    return found


def frames(one: SpriteClip, side: int) -> Iterator[Seen]:
    """The frames of a clip at that size, with the exact masks of its objects."""
    for rgb, ids in zip(one.rgb, one.ids, strict=True):
        image = torch.from_numpy(rgb).permute(2, 0, 1)[None].float()
        seen = F.interpolate(image, size=(side, side), mode="bilinear", antialias=True, align_corners=False)
        rows = []
        for number in np.unique(ids[ids > 0]).tolist():
            mask = ids == number
            left, top, right, bottom = tight_box(mask) or (0, 0, 0, 0)
            rle = coco.encode(np.asfortranarray(mask))["counts"].decode()
            rows.append({"tube": number, "rle": rle, "box": (left, top, right - left, bottom - top)})
        shown = seen[0].permute(1, 2, 0).round().clamp(0, 255).byte().numpy()
        yield Seen(shown, rows, ids.shape, (0, 0, 0, 0))


if __name__ == "__main__":
    main()
