"""From soft masks on the patch grid to one label per pixel."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

_PIXELS = 1 << 24  # of upsampled masks held at a time


def upsample_argmax(masks: Tensor, active: Tensor, size: tuple[int, int]) -> Tensor:
    """The slot that wins each pixel: bilinear upsampling (corners not aligned), then argmax over active
    slots.

    Args:
        masks: float (T, K, h, w).
        active: bool (T, K); every frame has an active slot.
        size: H, W of the result.

    Returns:
        int64 (T, H, W), slot numbers.
    """
    labels = torch.empty((len(masks), *size), dtype=torch.int64)
    chunk = max(_PIXELS // (masks.shape[1] * size[0] * size[1]), 1)
    for start in range(0, len(masks), chunk):
        part = masks[start : start + chunk].float()
        large = functional.interpolate(part, size, mode="bilinear", align_corners=False)
        large = large.masked_fill(~active[start : start + chunk, :, None, None], -1.0)
        labels[start : start + chunk] = large.argmax(dim=1).cpu()
    return labels
