"""Multi-scale crops of clips (methods sheet 1.4), without mirroring."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch.nn import functional as F


def crop_of(
    frame: tuple[int, int], scales: Sequence[float], draws: np.random.Generator
) -> tuple[int, int, int, int]:
    """A random crop of a frame of that height and width: top, left, height and width in pixels.

    Its sides are two of ``scales`` times the short side, equal or next to each other in that list; every such
    pair and every place is as likely as any other (VideoMAE's own places lie on a grid).
    """
    height, width = frame
    short = min(frame)
    sides = [max(int(short * scale), 1) for scale in scales]
    pairs = [(a, b) for i, a in enumerate(sides) for j, b in enumerate(sides) if abs(i - j) <= 1]
    rows, columns = pairs[int(draws.integers(len(pairs)))]
    top, left = (int(draws.integers(room + 1)) for room in (height - rows, width - columns))
    return top, left, rows, columns


def cropped(rgb: np.ndarray, box: tuple[int, int, int, int], size: int) -> torch.Tensor:
    """uint8 (T, size, size, 3): the ``box`` of frames (T, H, W, 3), resized bilinearly with antialias."""
    top, left, rows, columns = box
    part = torch.from_numpy(np.ascontiguousarray(rgb[:, top : top + rows, left : left + columns]))
    images = part.permute(0, 3, 1, 2).float()
    images = F.interpolate(images, size=(size, size), mode="bilinear", align_corners=False, antialias=True)
    return images.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()
