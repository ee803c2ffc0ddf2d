"""The frozen backbone on stored pixels while a method trains: a ViT on some patches of single frames
(faithful token dropping), or a video transformer on whole clips.
"""

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

ClipEncoder = Callable[[Tensor], Tensor]
"""``pixels`` -> features, see `clip_encoder`."""


def clip_encoder(
    spec: BackboneSpec, device: str = "cpu", grid: tuple[int, int] | None = None, facet: str = "tokens"
) -> ClipEncoder:
    """A function that encodes clips of any frames as the features stage encodes runs.

    It takes ``pixels``, values 0 to 255 of any type, (B, T, H * W, 3) as the facet ``pixels`` is stored or
    (B, T, H, W, 3), and returns float32 (B, T, N, D) on ``device``, without gradients. T is the number of
    frames that the backbone encodes together. Arguments as of `kept_encoder`.

    Raises:
        SettingsError: the backbone encodes every frame alone, or can't be had as described.
    """
    backbone = TorchBackbone(replace(spec.resolved(), facets=(facet,)), device)
    if backbone.together == 1:
        raise SettingsError(
            f"backbone {spec.name} encodes every frame alone: choose one such as videomae_vitb16"
        )

    def encode(pixels: Tensor) -> Tensor:
        if pixels.shape[1] != backbone.together:
            raise ValueError(f"clips of {pixels.shape[1]} frames, not of {backbone.together}")
        with torch.no_grad():
            frames = _frames(pixels.flatten(0, 1), backbone, grid)
            return backbone.encode(frames)[facet].float().unflatten(0, pixels.shape[:2])

    return encode


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
