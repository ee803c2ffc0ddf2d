"""Naming by crops: CLIP's embedding of the box around each mask, averaged over frames (methods sheet 6.7)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms.v2 import functional as T

from stages.errors import SettingsError

Box = tuple[int, int, int, int]
Thing = TypeVar("Thing")


def tight_box(mask: NDArray[np.bool_]) -> Box | None:
    """``(left, top, right, bottom)`` around a mask (h, w), right and bottom excluded; None where empty."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def in_frame(box: Box, grid: tuple[int, int], frame: tuple[int, int], margin: float = 0.0) -> Box:
    """A box of a mask's grid in the pixels of its frame.

    Args:
        box: right and bottom excluded, in cells of ``grid``.
        grid: rows and columns of the mask; equal to ``frame`` for a mask of pixels.
        frame: height and width in pixels.
        margin: what is added at each side, as a share of the box's own width and height, up to the frame's
            border.

    Returns:
        Whole pixels, at least one in each direction.
    """
    (left, top, right, bottom), (rows, columns), (height, width) = box, grid, frame
    wide, tall = right - left, bottom - top
    edges = _pixels(left - margin * wide, right + margin * wide, width / columns, width)
    sides = _pixels(top - margin * tall, bottom + margin * tall, height / rows, height)
    return edges[0], sides[0], edges[1], sides[1]


def _pixels(low: float, high: float, scale: float, length: int) -> tuple[int, int]:
    first = min(max(round(low * scale), 0), length - 1)
    return first, max(min(round(high * scale), length), first + 1)


def crop(frame: Tensor, box: Box, size: tuple[int, int]) -> Tensor:
    """The box of a frame, stretched to ``size`` whatever its aspect.

    Args:
        frame: (3, H, W) uint8, not normalised.
        box: in pixels, right and bottom excluded. One of a single pixel becomes an even colour.
        size: height and width of the result.

    Returns:
        (3, *size) float32 in [0, 1]; bicubic, with antialias as CLIP's own preprocessing.
    """
    left, top, right, bottom = box
    cut = frame[:, top:bottom, left:right].float() / 255
    resized: Tensor = T.resize(cut, list(size), T.InterpolationMode.BICUBIC, antialias=True)
    return resized.clamp(0, 1)


def crop_embeddings(
    embed: Callable[[Tensor], Tensor],
    frames: NDArray[np.uint8],
    masks: NDArray[np.bool_],
    size: tuple[int, int],
    width: int,
    margin: float = 0.0,
    batch: int = 64,
) -> tuple[Tensor, NDArray[np.bool_]]:
    """One embedding per mask: those of its crops, each of length 1, averaged over the frames it is in.

    Args:
        embed: embeddings (n, E) of crops (n, 3, *size) in [0, 1]; see `ClipModel.image_embedding`.
        frames: (T, H, W, 3) uint8, not normalised.
        masks: (M, T, h, w), of pixels or of any coarser grid over the same frame.
        size: height and width of the images that ``embed`` takes.
        width: E.
        margin: context around the box, see `in_frame`.
        batch: crops per call of ``embed``.

    Returns:
        (M, E) float32 on the CPU, and in which frames each mask is: (M, T) bool. A mask that is nowhere has
        zeros, which no name is near to.

    Raises:
        SettingsError: a negative margin.
    """
    if not margin >= 0:
        raise SettingsError(f"label.margin={margin}: give a share of the box that is not negative, e.g. 0.2")
    seen: NDArray[np.bool_] = np.asarray(masks.any(axis=(2, 3)))
    total = torch.zeros(len(masks), width)
    for number, each in embedded(embed, _crops(frames, masks, size, margin), batch):
        total[number] += each
    counts = torch.from_numpy(seen.sum(axis=1)).clamp(min=1).to(total)
    return total / counts[:, None], seen


def embedded(
    embed: Callable[[Tensor], Tensor], crops: Iterable[tuple[int, Tensor]], batch: int = 64
) -> Iterator[tuple[int, Tensor]]:
    """The embedding (E,) of length 1, on the CPU, of every numbered crop (3, H, W), in order.

    Args:
        embed: see `crop_embeddings`.
        crops: as many as there are; ``batch`` of them are in memory.
        batch: crops per call of ``embed``.
    """
    for part in batched(crops, batch):
        each = F.normalize(embed(torch.stack([image for _, image in part])).float(), dim=-1).cpu()
        yield from zip([number for number, _ in part], each, strict=True)


def batched(things: Iterable[Thing], size: int) -> Iterator[list[Thing]]:
    """Up to ``size`` at a time (`itertools.batched` comes with Python 3.12)."""
    waiting = iter(things)
    while part := list(islice(waiting, size)):
        yield part


def _crops(
    frames: NDArray[np.uint8], masks: NDArray[np.bool_], size: tuple[int, int], margin: float
) -> Iterator[tuple[int, Tensor]]:
    """Crops of all masks in all frames, with the numbers of their masks."""
    for time, frame in enumerate(frames):
        image = torch.from_numpy(np.ascontiguousarray(frame)).permute(2, 0, 1)
        for number, mask in enumerate(masks[:, time]):
            if (box := tight_box(mask)) is not None:
                yield number, crop(image, in_frame(box, mask.shape, frame.shape[:2], margin), size)
