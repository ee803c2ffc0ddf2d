"""How CLIP looks at tubes: at crops around their masks, or at patches pooled over them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from stages.decode.spec import Geometry
from stages.features.backbones.torch_backbone import STATISTICS
from stages.labeling.clip_model import ClipModel
from stages.labeling.clip_patches import PatchTower
from stages.labeling.crop_box import Box, batched, crop, embedded, in_frame
from stages.labeling.naming import pool
from stages.labeling.patch_branch import PatchBranch
from stages.stage import Row
from stages.tubes.patches import patch_masks

_BATCH = 16
"""Frames that the tower sees at a time."""


@dataclass(frozen=True)
class Seen:
    """A frame with the tubes that have pixels in it.

    Attributes:
        rgb: uint8 (H, W, 3), without black borders, of the size that the look wants.
        tubes: rows with ``tube``, ``rle`` and ``box`` (x, y, width, height), of the upright frame.
        size: height and width of that frame.
        borders: its pixels that are not in ``rgb``: top, bottom, left, right.
    """

    rgb: np.ndarray
    tubes: Sequence[Row]
    size: tuple[int, int]
    borders: tuple[int, int, int, int]


class Look(Protocol):
    """A way of looking."""

    width: int
    """Channels of the vectors (E)."""
    chunk: int
    """Frames that are decoded at a time; few where they have the size of the source."""
    geometry: Geometry
    """The size of the frames it wants."""

    def vectors(self, frames: Iterable[Seen]) -> Iterator[tuple[list[int], Tensor]]:
        """Numbers of tubes, and what each adds to its sum: float32 (n, E) on the CPU."""


class Crops:
    """The embedding of the box around every mask, of length 1 (methods sheet 6.7).

    Args:
        model: CLIP.
        margin: context at each side, as a share of the box.
        geometry: of the frames.
    """

    def __init__(self, model: ClipModel, margin: float, geometry: Geometry) -> None:
        self._model, self._margin, self.geometry = model, margin, geometry
        self.width, self.chunk = model.width, 2

    def vectors(self, frames: Iterable[Seen]) -> Iterator[tuple[list[int], Tensor]]:
        """See `Look.vectors`; one crop after the other."""
        device = self._model.mean.device
        for number, vector in embedded(
            lambda crops: self._model.image_embedding(crops.to(device)), self._crops(frames)
        ):
            yield [number], vector[None]

    def _crops(self, frames: Iterable[Seen]) -> Iterator[tuple[int, Tensor]]:
        for seen in frames:
            image = torch.from_numpy(np.ascontiguousarray(seen.rgb)).permute(2, 0, 1)
            inner = inner_size(seen)
            for row in seen.tubes:
                box = inner_box(row["box"], seen)
                yield (
                    row["tube"],
                    crop(image, in_frame(box, inner, seen.rgb.shape[:2], self._margin), self._model.size),
                )


class Patches:
    """Patch features pooled over every mask; the tower sees each frame once, whatever is in it (1.5.5, 6.6).

    Args:
        model: CLIP, for its statistics.
        tower: its image tower.
        branch: adapted; None for the patches of the tower as it is.
        imagenet_norm: ImageNet's statistics instead of CLIP's.
        geometry: of the frames: whole patches.
    """

    def __init__(
        self,
        model: ClipModel,
        tower: PatchTower,
        branch: PatchBranch | None,
        imagenet_norm: bool,
        geometry: Geometry,
    ) -> None:
        self._model, self._tower, self.geometry = model, tower, geometry
        self._branch = None if branch is None else branch.to(model.mean.device).eval()
        self._imagenet = imagenet_norm
        self.width, self.chunk = tower.embedding, _BATCH

    def vectors(self, frames: Iterable[Seen]) -> Iterator[tuple[list[int], Tensor]]:
        """See `Look.vectors`; all tubes of a frame at a time."""
        for part in batched(frames, _BATCH):
            grid = self._tower.grid(*part[0].rgb.shape[:2])
            for seen, features in zip(part, self._features(part), strict=True):
                rles = [row["rle"] for row in seen.tubes]
                masks = patch_masks(rles, seen.size, seen.borders, grid)
                there = np.flatnonzero(masks.any(axis=(1, 2)))
                chosen = torch.from_numpy(masks[there]).flatten(1)[:, None]
                yield [seen.tubes[i]["tube"] for i in there.tolist()], pool(features[None], chosen)

    @torch.no_grad()
    def _features(self, part: Sequence[Seen]) -> Tensor:
        """Patch features (B, N, E) of B frames, on the CPU."""
        device = self._model.mean.device
        rgb = torch.from_numpy(np.stack([seen.rgb for seen in part])).to(device)
        images = self._normalised(rgb.permute(0, 3, 1, 2).float() / 255)
        if self._branch is None:
            return self._tower(images).plain.float().cpu()
        found: Tensor = self._branch(self._tower.penultimate(images))
        return found.float().cpu()

    def _normalised(self, images: Tensor) -> Tensor:
        if not self._imagenet:
            return self._model.normalise(images)
        mean, std = (images.new_tensor(values).view(3, 1, 1) for values in STATISTICS["imagenet"])
        return (images - mean) / std


def inner_size(seen: Seen) -> tuple[int, int]:
    """Height and width of the upright frame without its borders."""
    top, bottom, left, right = seen.borders
    return seen.size[0] - top - bottom, seen.size[1] - left - right


def inner_box(box: Sequence[int], seen: Seen) -> Box:
    """``(left, top, right, bottom)``, right and bottom excluded, in the frame without its borders."""
    x, y, wide, tall = box
    top, _, left, _ = seen.borders
    return x - left, y - top, x - left + wide, y - top + tall
