"""A small CLIP that knows sprites: trained on rendered crops and captions such as "a red star".

It goes through open_clip alone (model, tokenizer, loss), so that whatever names things with a released CLIP
does so with this one, on a machine without network.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from open_clip.loss import ClipLoss
from torch import Tensor

from stages.errors import SettingsError
from stages.labeling.accuracy import Accuracy
from stages.labeling.clip_model import ClipModel, Tokenizer, build, save_clip
from stages.labeling.clip_spec import ClipSpec
from stages.labeling.crop_box import crop, in_frame, tight_box
from stages.labeling.sprites_clip_spec import SpritesClipSpec
from stages.learning.schedules import cosine
from stages.sprites.clip import SpriteClip, clip
from stages.sprites.palette import COLOURS
from stages.sprites.shapes import SHAPES
from stages.sprites.spec import SpritesSpec

BACKGROUND = "scenery"
"""The word for a crop without an object, and for a whole frame. Not "background", which `vocabulary.REST`
reads like: that stands for nothing in particular."""
PAIRS = tuple(f"{colour} {shape}" for colour in COLOURS for shape in SHAPES)
"""Names of all objects, colour by colour."""
TEMPLATES = ("{}", "a {}", "a photo of {}", "a photo of a {}")

SIZE = 32
CONFIG: dict[str, Any] = {
    "embed_dim": 64,
    "quick_gelu": True,
    "vision_cfg": {"image_size": SIZE, "patch_size": 8, "width": 64, "head_width": 16, "layers": 3},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
}

_BACKGROUND_ID = len(PAIRS)
_LEAST_SEEN = 0.35
"""Share of the disc of its radius that must be seen of an object to make a crop of it."""
_MOST_SCALE = math.log(100)
_BETAS = (0.9, 0.98)
_SEEDS_APART = 1_000_003
"""Added to the generator's seed, so that a user's own sprites, of small seeds, are never trained on."""


@dataclass(frozen=True)
class Crops:
    """Rendered crops.

    Attributes:
        images: (n, 3, SIZE, SIZE) uint8.
        names: (n,) int64, indices into `PAIRS`; `len(PAIRS)` for the background.
    """

    images: Tensor
    names: NDArray[np.int64]


def train_sprites_clip(
    spec: SpritesClipSpec, report: Callable[[Mapping[str, float]], None] | None = None
) -> tuple[ClipModel, dict[str, Accuracy]]:
    """Train a model and measure it: about two minutes on two cores as the defaults are.

    Args:
        spec: how.
        report: called with ``step`` and ``loss`` every fifty steps.

    Returns:
        The model, frozen, and its zero-shot accuracy by ``colour``, ``shape`` and ``pair`` (both) on held-out
        sprites; see `zero_shot`.

    Raises:
        SettingsError: too few clips for every colour to be seen with every shape.
    """
    crops = render_crops(spec, range(spec.clips), jitter=True)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "sprites.json")
        path.write_text(json.dumps(CONFIG), encoding="utf-8")
        model, tokenizer = build(ClipSpec(model=str(path), weights="random", seed=spec.seed))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(spec.seed)
        _train(model, tokenizer, crops, spec, report)
    trained = ClipModel(model, tokenizer, CONFIG["embed_dim"])
    held_out = render_crops(spec, range(spec.clips, spec.clips + max(spec.clips // 8, 8)), jitter=False)
    return trained, zero_shot(trained, held_out)


def save_sprites_clip(model: ClipModel, folder: Path) -> None:
    """Write the model into ``folder`` in open_clip's layout, for ``label.model=FOLDER``."""
    save_clip(model.model, CONFIG, folder)


def render_crops(spec: SpritesClipSpec, indices: Sequence[int], jitter: bool) -> Crops:
    """Crops of the objects of clips ``indices``, and of as many backgrounds as there are clips.

    Args:
        spec: levels and seed.
        indices: of clips; a clip's level goes by its index.
        jitter: whether boxes get a margin by lot and are moved a little, as boxes of slots are. Else they are
            tight.
    """
    images, names = [], []
    for index in indices:
        rng = np.random.default_rng((spec.seed, index))
        level: Any = spec.levels[index % len(spec.levels)]
        made = clip(SpritesSpec(level=level, seed=_SEEDS_APART + spec.seed, frames=2), index)
        for frame in range(2 if jitter else 1):
            picture = torch.from_numpy(made.rgb[frame]).permute(2, 0, 1)
            for name, box in _boxes(made, frame, rng, jitter):
                images.append((crop(picture, box, (SIZE, SIZE)) * 255).round().byte())
                names.append(name)
    return Crops(torch.stack(images), np.array(names, np.int64))


def _boxes(
    made: SpriteClip, frame: int, rng: np.random.Generator, jitter: bool
) -> list[tuple[int, tuple[int, int, int, int]]]:
    """Name and box of every object that is seen well enough, and of one background."""
    ids = made.ids[frame]
    found = [(_BACKGROUND_ID, _background_box(ids, rng))]
    for thing in made.objects:
        if thing["pixels"][frame] < _LEAST_SEEN * math.pi * thing["radius"] ** 2:
            continue
        box = tight_box(ids == thing["id"])
        if box is None:
            continue
        if jitter:
            wide, tall = box[2] - box[0], box[3] - box[1]
            moved = rng.uniform(-0.12, 0.12, 4) * (wide, tall, wide, tall)
            left, top, right, bottom = (round(side + by) for side, by in zip(box, moved, strict=True))
            box = (left, top, max(right, left + 1), max(bottom, top + 1))
        # Up to half a box on each side: the whole image of an object is also what patches are adapted with.
        margin = 0.5 * rng.random() ** 2 if jitter else 0.0
        name = PAIRS.index(f"{thing['colour']} {thing['shape']}")
        found.append((name, in_frame(box, ids.shape, ids.shape, margin)))
    return found


def _background_box(ids: NDArray[np.uint8], rng: np.random.Generator) -> tuple[int, int, int, int]:
    """The whole frame, or a part with next to no object, where a few trials find one."""
    height, width = ids.shape
    for _ in range(8 * int(rng.integers(2))):
        side = int(rng.integers(8, min(height, width) // 2))
        left, top = int(rng.integers(width - side + 1)), int(rng.integers(height - side + 1))
        if (ids[top : top + side, left : left + side] > 0).mean() < 0.05:
            return left, top, left + side, top + side
    return 0, 0, width, height


def zero_shot(model: ClipModel, crops: Crops, template: str = "a photo of a {}") -> dict[str, Accuracy]:
    """Accuracy by ``colour``, ``shape``, ``pair`` (of `PAIRS`) and ``background`` (an object or not).

    The first three are of the crops of objects, among the words of their kind; the last is of all crops,
    among all pairs and `BACKGROUND`.
    """
    with torch.no_grad():
        images = torch.cat([model.image_embedding(part.float() / 255) for part in crops.images.split(256)])
    things = crops.names != _BACKGROUND_ID
    colours, shapes = np.divmod(crops.names[things], len(SHAPES))
    objects = images[torch.from_numpy(things)]

    def nearest(embeddings: Tensor, words: Sequence[str]) -> NDArray[np.int64]:
        texts = model.text_features([template.format(word) for word in words])
        answers: NDArray[np.int64] = (embeddings @ texts.T).argmax(dim=1).numpy()
        return answers

    is_thing = nearest(images, (*PAIRS, BACKGROUND)) != _BACKGROUND_ID
    return {
        "colour": _accuracy(nearest(objects, tuple(COLOURS)), colours, len(COLOURS)),
        "shape": _accuracy(nearest(objects, SHAPES), shapes, len(SHAPES)),
        "pair": _accuracy(nearest(objects, PAIRS), crops.names[things], len(PAIRS)),
        "background": _accuracy(is_thing.astype(np.int64), things.astype(np.int64), 2),
    }


def _accuracy(answers: NDArray[np.int64], truth: NDArray[np.int64], classes: int) -> Accuracy:
    majority = np.bincount(truth).max() / len(truth)
    return Accuracy(float((answers == truth).mean()), 1 / classes, float(majority))


def _train(
    model: Any,
    tokenizer: Tokenizer,
    crops: Crops,
    spec: SpritesClipSpec,
    report: Callable[[Mapping[str, float]], None] | None,
) -> None:
    pool = [np.flatnonzero(crops.names == name) for name in range(len(PAIRS) + 1)]
    if missing := [PAIRS[name] for name in range(len(PAIRS)) if not len(pool[name])]:
        raise SettingsError(
            f"clip_sprites.clips={spec.clips}: {len(missing)} objects such as {missing[0]!r} are in none of "
            "them; render more clips"
        )
    rng = np.random.default_rng(spec.seed)
    statistics = ClipModel(model, tokenizer, CONFIG["embed_dim"])
    model.train().requires_grad_(True)
    optimiser = torch.optim.AdamW(model.parameters(), lr=spec.rate, betas=_BETAS, weight_decay=0.05)
    warmup = max(spec.steps // 20, 1)
    for step in range(spec.steps):
        factor = min((step + 1) / warmup, cosine(step, spec.steps, 0.01))
        for group in optimiser.param_groups:
            group["lr"] = spec.rate * factor
        drawn = np.array([rng.choice(members, spec.rounds) for members in pool]).T
        images = crops.images[torch.from_numpy(drawn.ravel())].float() / 255
        images = statistics.normalise(_turned(images, rng)).unflatten(0, drawn.shape)
        loss = _loss(model, tokenizer(_captions(rng)), images)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0, _MOST_SCALE)
        if report is not None and step % 50 == 0:
            report({"step": step, "loss": loss.item()})


def _captions(rng: np.random.Generator) -> list[str]:
    """All pairs, colours and shapes and the background, each in a template by lot."""
    words = [*PAIRS, *COLOURS, *SHAPES, BACKGROUND]
    return [TEMPLATES[int(rng.integers(len(TEMPLATES)))].format(word) for word in words]


def _turned(images: Tensor, rng: np.random.Generator) -> Tensor:
    """The whole batch flipped and turned by quarters; neither colour nor shape changes by it."""
    images = images.flip(-1) if rng.integers(2) else images
    return torch.rot90(images, int(rng.integers(4)), dims=(-2, -1))


def _loss(model: Any, tokens: Tensor, images: Tensor) -> Tensor:
    """The contrastive loss of pairs, of colours and of shapes, averaged.

    In each of them no two images share a caption, so that no negative is a positive: pairs are all different,
    colours differ among the images of one shape, and shapes among those of one colour.

    Args:
        model: of open_clip.
        tokens: of the captions in the order of `_captions`.
        images: (rounds, 86, 3, H, W), one of each of `PAIRS` and a background.
    """
    contrastive, scale = ClipLoss(), model.logit_scale.exp()
    texts = model.encode_text(tokens, normalize=True)
    pairs, colours, shapes, empty = texts.split([len(PAIRS), len(COLOURS), len(SHAPES), 1])
    found = model.encode_image(images.flatten(0, 1), normalize=True).unflatten(0, images.shape[:2])
    parts: tuple[list[Tensor], ...] = ([], [], [])
    for each in found:
        ground = each[-1:]
        table = each[:-1].unflatten(0, (len(COLOURS), len(SHAPES)))
        parts[0].append(contrastive(each, torch.cat([pairs, empty]), scale))
        for column in table.unbind(1):
            parts[1].append(contrastive(torch.cat([column, ground]), torch.cat([colours, empty]), scale))
        for row in table.unbind(0):
            parts[2].append(contrastive(torch.cat([row, ground]), torch.cat([shapes, empty]), scale))
    return torch.stack([torch.stack(part).mean() for part in parts]).mean()
