"""The frozen ViT on some patches of stored pixels, while a method trains: faithful token dropping."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from stages.errors import SettingsError
from stages.features.backbone_spec import BackboneSpec, check_masked
from stages.features.backbones.table import PATCH_FACETS
from stages.features.backbones.torch_backbone import TorchBackbone

KeptEncoder = Callable[[Tensor, Tensor], Tensor]
"""``pixels``, ``kept`` -> features, see `kept_encoder`."""


def kept_encoder(
    spec: BackboneSpec, device: str = "cpu", grid: tuple[int, int] | None = None, facet: str = "tokens"
) -> KeptEncoder:
    """A function that encodes frames as the features stage does, but sees some of their patches only.

    It takes ``pixels``, values 0 to 255 of any type, (B, H, W, 3) or as the facet ``pixels`` is stored,
    (B, H * W, 3), and ``kept``, (B, n) row-major positions of patches, ascending. It returns float32
    (B, n, D) on ``device``, without gradients. Threads and precision of products are the caller's.

    Args:
        spec: the backbone whose features are cached; a ViT.
        device: ``cpu``, ``cuda``, ``cuda:<n>`` or ``auto``.
        grid: rows and columns of patches; needed for pixels (B, H * W, 3).
        facet: ``tokens``, ``keys`` or ``queries``.

    Raises:
        SettingsError: the backbone is no ViT, can't be had as described, or has no such facet.
    """
    if facet not in PATCH_FACETS:
        raise SettingsError(f"facet {facet} is not per patch: choose among {', '.join(PATCH_FACETS)}")
    alone = replace(spec.resolved(), facets=(facet,))
    check_masked(alone)
    backbone = TorchBackbone(alone, device)
    if not backbone.masks:
        raise SettingsError(f"backbone {spec.name} can't leave out patches: choose a ViT such as dino_vits16")

    def encode(pixels: Tensor, kept: Tensor) -> Tensor:
        with torch.no_grad():
            return backbone.encode_kept(_frames(pixels, backbone, grid), kept)[facet].float()

    return encode


def _frames(pixels: Tensor, backbone: TorchBackbone, grid: tuple[int, int] | None) -> Tensor:
    """``pixels`` as (B, H, W, 3)."""
    if pixels.ndim == 4:
        return pixels
    if grid is None:
        raise ValueError(f"pixels of shape {tuple(pixels.shape)} need the grid of patches to become frames")
    patch = backbone.patch
    size = (grid[0] * patch[0], grid[1] * patch[1])
    if pixels.shape[1] != size[0] * size[1]:
        raise ValueError(
            f"frames have {pixels.shape[1]} pixels, {grid[0]} x {grid[1]} patches of {patch[0]} x {patch[1]} "
            f"have {size[0] * size[1]}"
        )
    return pixels.unflatten(1, size)
