"""From a method's `Segmentation` to pixels: label maps of whole videos, and rows of tubes frame by frame.

A method sees frames without their black borders; here its masks are scaled to that part of the upright frame
and put back in place, so that all maps have the size of the frame.

The score of a tube in a frame is the mean, over its pixels there, of the share that the winning slot has of
all masks at the pixel. For masks that are a softmax over slots that is the mean of the largest probability.
Of overlapping masks it is the mean of the mask itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from pycocotools import mask as coco
from torch import Tensor
from torch.nn import functional

from stages.tubes.upsample import upsample_argmax
from stages.tubes.writer import TubeFrame, TubesWriter

if TYPE_CHECKING:
    from stages.discovery.contract import Segmentation

Borders = tuple[int, int, int, int]
"""Pixels cut off an upright frame: top, bottom, left, right."""

NO_TUBE = -1
THRESHOLD = 0.5
"""What an overlapping mask has to exceed."""

_MOST_TUBES = int(np.iinfo(np.int16).max) + 1
_TINY = 1e-12


@dataclass(frozen=True)
class FrameMasks:
    """The tubes that have pixels in one frame.

    Attributes:
        tubes: their numbers, rising, int64 (n,).
        masks: bool (n, W, H): columns first, as run lengths of COCO go.
        scores: float64 (n,).
    """

    tubes: np.ndarray
    masks: np.ndarray
    scores: np.ndarray


def label_maps(
    found: Segmentation, kind: str, size: tuple[int, int], borders: Borders | None = None
) -> np.ndarray:
    """The tube that every pixel belongs to.

    Args:
        found: what a method found in a video of T frames; its masks do not overlap.
        kind: of masks.
        size: H, W of the upright frame.
        borders: what the method did not see of it; None for nothing.

    Returns:
        int16 (T, H, W): tube numbers, -1 on the borders and in frames without an active slot.

    Raises:
        ValueError: masks overlap (see `overlapping_masks`), the borders leave nothing, or there are more
            tubes than int16 can number.
    """
    if found.overlapping:
        raise ValueError("overlapping masks make no label map; take overlapping_masks")
    masks = found.masks[kind]
    labels = np.full((len(masks), *size), NO_TUBE, np.int16)
    inner = _inner(size, borders)
    for t, identity in enumerate(_identities(found)):
        labels[t][inner] = identity[_winners(found, kind, t, _extent(inner))]
    return labels


def overlapping_masks(
    found: Segmentation, kind: str, size: tuple[int, int], borders: Borders | None = None
) -> dict[int, np.ndarray]:
    """The pixels of every tube, bool (T, H, W) by tube: those where one of its slots' masks exceeds 0.5.

    Raises:
        ValueError: as `label_maps`, but for masks that compete for pixels.
    """
    if not found.overlapping:
        raise ValueError("these masks compete for pixels; take label_maps")
    result: dict[int, np.ndarray] = {}
    for t, frame in enumerate(frame_masks(found, kind, size, borders)):
        for tube, mask in zip(frame.tubes.tolist(), frame.masks, strict=True):
            whole = result.setdefault(tube, np.zeros((len(found.active), *size), bool))
            whole[t] = mask.T
    return dict(sorted(result.items()))


def frame_masks(
    found: Segmentation, kind: str, size: tuple[int, int], borders: Borders | None = None
) -> Iterator[FrameMasks]:
    """The tubes of every frame in turn; memory holds one upsampled frame.

    Raises:
        ValueError: as `label_maps`; overlapping masks are fine here.
    """
    inner = _inner(size, borders)
    make = _overlapping if found.overlapping else _competing
    for t, identity in enumerate(_identities(found)):
        tubes, small, scores = make(found, kind, t, _extent(inner), identity)
        masks = np.zeros((len(tubes), size[1], size[0]), bool)
        masks[:, inner[1], inner[0]] = small
        yield FrameMasks(tubes, masks, scores)


def add_tubes(
    writer: TubesWriter,
    video: str,
    found: Segmentation,
    kind: str,
    size: tuple[int, int],
    borders: Borders | None,
    frames: np.ndarray,
    pts: np.ndarray,
) -> int:
    """Add the tubes of one kind of masks to the writer's current video.

    Args:
        frames: indices of the T frames in the source.
        pts: their times in seconds.

    Returns:
        How many tubes have a pixel somewhere.

    Raises:
        ValueError: as `label_maps` and `TubesWriter.add`; or masks are not of T frames.
    """
    if len(found.masks[kind]) != len(frames):
        raise ValueError(f"video {video} has {len(frames)} frames, its masks {len(found.masks[kind])}")
    rows = tube_frames(found, kind, size, borders)
    tubes = {row.tube for row in rows}
    slots = None if found.slots is None else _slot_vectors(found, tubes)
    writer.add(video, kind, size, frames, pts, rows, slots)
    return len(tubes)


def tube_frames(
    found: Segmentation, kind: str, size: tuple[int, int], borders: Borders | None = None
) -> list[TubeFrame]:
    """The pixels of every tube in every frame, by frame and then by tube.

    Raises:
        ValueError: as `frame_masks`.
    """
    rows: list[TubeFrame] = []
    for position, frame in enumerate(frame_masks(found, kind, size, borders)):
        rows += _rows(position, frame)
    return rows


def _rows(position: int, frame: FrameMasks) -> list[TubeFrame]:
    if not len(frame.tubes):
        return []
    runs = coco.encode(frame.masks.view(np.uint8).transpose(2, 1, 0))
    boxes, areas = coco.toBbox(runs).astype(int).tolist(), coco.area(runs).tolist()
    return [
        TubeFrame(tube, position, run["counts"].decode("ascii"), tuple(box), area, score)
        for tube, run, box, area, score in zip(
            frame.tubes.tolist(), runs, boxes, areas, frame.scores.tolist(), strict=True
        )
    ]


def _slot_vectors(found: Segmentation, tubes: set[int]) -> dict[int, np.ndarray]:
    """The mean slot vector (d,) of each tube over all its frames and slots."""
    assert found.slots is not None
    identity = found.identity.cpu()
    slots = found.slots.detach().float().cpu()
    return {tube: slots[identity == tube].mean(dim=0).numpy() for tube in sorted(tubes)}


def _identities(found: Segmentation) -> np.ndarray:
    """`Segmentation.identity` as int64 (T, K) on the CPU, -1 for inactive slots whatever it says there."""
    identity: np.ndarray = found.identity.masked_fill(~found.active, NO_TUBE).cpu().numpy()
    if identity.size and identity.max() >= _MOST_TUBES:
        raise ValueError(f"tube {identity.max()}: a video can have {_MOST_TUBES} tubes, numbered from 0")
    return identity


def _inner(size: tuple[int, int], borders: Borders | None) -> tuple[slice, slice]:
    """Rows and columns that the method saw."""
    top, bottom, left, right = borders or (0, 0, 0, 0)
    if top + bottom >= size[0] or left + right >= size[1]:
        raise ValueError(f"borders {borders} leave nothing of a frame of {size[0]}x{size[1]} pixels")
    return slice(top, size[0] - bottom), slice(left, size[1] - right)


def _extent(inner: tuple[slice, slice]) -> tuple[int, int]:
    return inner[0].stop - inner[0].start, inner[1].stop - inner[1].start


def _winners(found: Segmentation, kind: str, t: int, size: tuple[int, int]) -> np.ndarray:
    labels: np.ndarray = upsample_argmax(found.masks[kind][t : t + 1], found.active[t : t + 1], size)[
        0
    ].numpy()
    return labels


def _large(found: Segmentation, kind: str, t: int, size: tuple[int, int]) -> Tensor:
    """The masks of frame t, float32 (K, H, W); 0 for inactive slots."""
    masks = found.masks[kind][t : t + 1].float() * found.active[t, :, None, None]
    return functional.interpolate(masks, size, mode="bilinear", align_corners=False)[0]


def _competing(
    found: Segmentation, kind: str, t: int, size: tuple[int, int], identity: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Tubes, masks (n, W, H) and scores where each pixel goes to the strongest slot."""
    slot = _winners(found, kind, t, size)
    large = _large(found, kind, t, size)
    won = large.gather(0, torch.from_numpy(slot).to(large.device)[None])[0]
    share = (won / large.sum(dim=0).clamp_min(_TINY)).cpu().numpy()
    labels = np.ascontiguousarray(identity.astype(np.int16)[slot].T)
    there = labels.ravel() >= 0
    counts = np.bincount(labels.ravel()[there])
    sums = np.bincount(labels.ravel()[there], weights=share.T.ravel()[there])
    tubes = np.flatnonzero(counts)
    return tubes, labels[None] == tubes[:, None, None], sums[tubes] / counts[tubes]


def _overlapping(
    found: Segmentation, kind: str, t: int, size: tuple[int, int], identity: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Tubes, masks (n, W, H) and scores where every slot has the pixels at which its mask exceeds 0.5."""
    large = _large(found, kind, t, size).cpu().numpy()
    tubes, masks, scores = [], [], []
    for tube in np.unique(identity[identity >= 0]).tolist():
        strongest = large[identity == tube].max(axis=0).T
        mask = strongest > THRESHOLD
        if mask.any():
            tubes.append(tube)
            masks.append(mask)
            scores.append(float(strongest[mask].mean()))
    small = np.stack(masks) if masks else np.zeros((0, size[1], size[0]), bool)
    return np.array(tubes, np.int64), small, np.array(scores)
