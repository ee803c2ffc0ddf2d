"""Colour and sharpness of frames changed by given parameters."""

from __future__ import annotations

import numpy as np
import torch
from torchvision.transforms.v2 import functional as T

from stages.features.views import Photometry


def change(rgb: np.ndarray, parameters: Photometry) -> np.ndarray:
    """Frames with ``parameters`` applied: (B, H, W, 3) uint8 in and out.

    The mean grey that contrast turns about is each frame's own; everything else is equal for all frames.
    """
    images = torch.from_numpy(np.ascontiguousarray(rgb)).permute(0, 3, 1, 2)
    if parameters.grey:
        images = T.rgb_to_grayscale(images, num_output_channels=3)
    for operation, amount in parameters.jitter:
        images = getattr(T, f"adjust_{operation}")(images, amount)
    if parameters.sigma is not None:
        height, width = images.shape[-2:]
        kernel = [_odd(width), _odd(height)]
        images = T.gaussian_blur(images, kernel, [parameters.sigma, parameters.sigma])
    return images.permute(0, 2, 3, 1).contiguous().numpy()


def _odd(side: int) -> int:
    """A tenth of ``side``, made odd."""
    return side // 10 | 1
