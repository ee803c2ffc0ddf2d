"""The frozen video transformer as an encoder of single frames that come in runs."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from stages.features.backbone_spec import BackboneSpec, weights_file
from stages.features.backbones.table import KnownModel
from stages.features.backbones.video_sizes import sizes_of
from stages.features.backbones.video_vit import VideoVit
from stages.features.backbones.video_weights import load_video_weights


class VideoEncoder(nn.Module):
    """Consecutive frames in, tokens by frame out; every ``frames`` of them are one clip.

    Args:
        model: ends without a norm (methods sheet 1.2.1).
        frames: of a clip.
    """

    def __init__(self, model: VideoVit, frames: int) -> None:
        super().__init__()
        self.model, self.frames = model, frames

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """See `VideoVit.grid`."""
        return self.model.grid(height, width)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """``tokens`` (B, N, D) of images (B, 3, H, W), normalised.

        What is left over after whole clips is filled up with the last image; its own tokens are given only.
        """
        count = len(images)
        if missing := -count % self.frames:
            images = torch.cat([images, images[-1:].expand(missing, -1, -1, -1)])
        clips = images.unflatten(0, (-1, self.frames)).transpose(1, 2)  # (b, 3, T, H, W)
        tokens: Tensor = self.model(clips)
        return {"tokens": tokens.unflatten(1, (self.frames, -1)).flatten(0, 1)[:count]}


def load_video_model(spec: BackboneSpec, known: KnownModel) -> tuple[VideoVit, str]:
    """The model of ``spec``, a row of the table, on the CPU, and the digest of its weights file.

    Raises:
        SettingsError: no weights are there to fetch, or the file is not of this model.
    """
    identity = spec.weights_identity()  # refuses the hub
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(spec.seed)
        model = VideoVit(sizes_of(known))
    if identity.startswith("random"):
        return model, ""
    return model, load_video_weights(model, weights_file(spec.weights))
