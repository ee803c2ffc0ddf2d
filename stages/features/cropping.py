"""Frames of which a random part is seen at the whole frame's size, mirrored half the time."""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from torchvision.transforms import v2

SCALE = (0.9, 1.0)
"""Share of the frame's area that is kept (VOL's patch-CLIP, methods sheet 1.4)."""
RATIO = (3 / 4, 4 / 3)
"""Width by height of the part, as is usual."""


def crop(rgb: np.ndarray, video: str, view: str, seed: int) -> np.ndarray:
    """The same part of all frames, resized bicubically: (B, H, W, 3) uint8 in and out.

    Which part, and whether it is mirrored, depends on the other arguments and the frames' size alone.
    """
    images = torch.from_numpy(np.ascontiguousarray(rgb)).permute(0, 3, 1, 2)
    digest = hashlib.sha256("\0".join((str(seed), video, view)).encode()).digest()
    change = v2.Compose(
        [
            v2.RandomResizedCrop(
                images.shape[-2:], SCALE, RATIO, v2.InterpolationMode.BICUBIC, antialias=True
            ),
            v2.RandomHorizontalFlip(),
        ]
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int.from_bytes(digest[:7], "big"))
        seen: torch.Tensor = change(images)
    return seen.permute(0, 2, 3, 1).contiguous().numpy()
