"""Feature maps of a convolutional network (or any timm model that gives maps) as tokens."""

from __future__ import annotations

import timm
import torch
from torch import nn

from stages.errors import SettingsError

FRAME_MULTIPLE = 32


class CnnEncoder(nn.Module):
    """One feature map of a timm model, at a chosen stride, as row-major tokens.

    Args:
        name: timm's name of the model.
        model: that model without its classifier, weights loaded.
        stage: feature map, 0-based, negative from the end.
        stride: pixels per token, reached by dilating the convolutions beyond it; None: the model's own.

    Raises:
        SettingsError: the model has no such map, or can't be had at that stride.
    """

    facets = ("tokens",)
    multiple = FRAME_MULTIPLE

    def __init__(self, name: str, model: nn.Module, stage: int = -1, stride: int | None = None) -> None:
        super().__init__()
        options = {} if stride is None else {"output_stride": stride}
        try:
            self.maps = timm.create_model(
                name, pretrained=False, features_only=True, out_indices=(stage,), **options
            )
        except (
            TypeError,
            ValueError,
            IndexError,
            AssertionError,
            RuntimeError,
            NotImplementedError,
        ) as error:
            raise SettingsError(
                f"backbone {name} gives no feature map for stage={stage} and stride={stride} ({error})"
            ) from error
        _copy_weights(model, self.maps, name)
        self.name = name
        self.width: int = self.maps.feature_info.channels()[0]
        self.stride: int = self.maps.feature_info.reduction()[0]

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of tokens; SettingsError where a frame is not whole cells of the coarsest map."""
        if height % self.multiple or width % self.multiple:
            raise SettingsError(
                f"frames of {height}x{width} pixels: {self.name} needs multiples of {self.multiple} both ways"
            )
        return height // self.stride, width // self.stride

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """``tokens`` (B, rows * columns, D) of normalised images (B, 3, H, W)."""
        features = self.maps(images)[0]
        if features.shape[1] != self.width:
            features = features.permute(0, 3, 1, 2)
        return {"tokens": features.flatten(2).transpose(1, 2)}


def _copy_weights(model: nn.Module, maps: nn.Module, name: str) -> None:
    """Weights of the whole model into its cut-down copy, whose module names timm may have flattened."""
    source = model.state_dict()
    chosen = {}
    for key in maps.state_dict():
        first, _, rest = key.partition(".")
        names = (key, f"{first.replace('_', '.')}.{rest}", rest)
        found = next((n for n in names if n in source), None)
        if found is None:
            raise SettingsError(f"backbone {name}: its feature maps have a weight {key} that the model lacks")
        chosen[key] = source[found]
    maps.load_state_dict(chosen, strict=True)
