"""Masked video pre-training: from a tenth of a clip's patches, paint the others (methods sheet 1.2.2, 1.3).

The names of a model's weights are those of VideoMAE's pre-training checkpoints, so what is trained here is
loaded as a backbone like any of them, see `stages.features.backbones.video_weights`.
"""

from __future__ import annotations

import torch
from timm.optim import param_groups_weight_decay
from torch import Tensor, nn
from torch.nn import functional as F

from stages.errors import SettingsError
from stages.features.backbones.torch_backbone import STATISTICS
from stages.features.backbones.video_sizes import BlockSizes, VideoVitSizes
from stages.features.backbones.video_vit import (
    LayerNorm,
    VideoVit,
    draw_weights,
    make_blocks,
    position_code,
    resized_code,
)
from stages.pretraining.schedule import BETAS, MASKED_SHARE, WEIGHT_DECAY

DECODER = BlockSizes(width=384, depth=4, heads=6)
"""The decoder of a ViT-B."""
_TOKEN_DEVIATION = 0.02
_EPSILON = 1e-6


def tube_mask(
    clips: int, frames: int, patches: int, share: float = MASKED_SHARE, draws: torch.Generator | None = None
) -> Tensor:
    """Which tokens are hidden: per clip the same patches in all of its frames.

    Args:
        clips: number of clips.
        frames: of a clip.
        patches: of a frame.
        share: of a frame's patches that is hidden, rounded down.
        draws: a CPU generator; default: torch's own.

    Returns:
        bool (clips, frames * patches), True = hidden, time-major.

    Raises:
        SettingsError: nothing would be hidden, or nothing seen.
    """
    hidden = int(share * patches)
    if not 0 < hidden < patches:
        raise SettingsError(
            f"a masked share of {share} hides {hidden} of a frame's {patches} patches: choose another share"
            " or larger frames, so that some are hidden and some are seen"
        )
    ranks = torch.rand(clips, patches, generator=draws).argsort(dim=1).argsort(dim=1)
    return (ranks < hidden).repeat(1, frames)


def pixel_patches(video: Tensor, patch: int) -> Tensor:
    """Clips (B, C, T, H, W) cut into tokens, (B, T * h * w, patch * patch, C); pixels row-major."""
    batch, channels = video.shape[:2]
    cut = video.unflatten(4, (-1, patch)).unflatten(3, (-1, patch))  # (B, C, T, h, patch, w, patch)
    return cut.permute(0, 2, 3, 5, 4, 6, 1).reshape(batch, -1, patch * patch, channels)


def make_optimiser(model: nn.Module, rate: float) -> torch.optim.AdamW:
    """VideoMAE's AdamW at peak ``rate``; biases, norms and the mask token do not decay."""
    groups = param_groups_weight_decay(model, WEIGHT_DECAY, no_weight_decay_list=("mask_token",))
    return torch.optim.AdamW(groups, lr=rate, betas=BETAS)


class _Decoder(nn.Module):
    """Blocks, a norm and a linear head to the pixels of a patch."""

    def __init__(self, sizes: BlockSizes, pixels: int) -> None:
        super().__init__()
        self.blocks = make_blocks(sizes)
        self.norm = LayerNorm(sizes.width)
        self.head = nn.Linear(sizes.width, pixels)

    def forward(self, x: Tensor, last: int) -> Tensor:
        """The head's output for the ``last`` tokens of ``x``."""
        for block in self.blocks:
            x = block(x)
        painted: Tensor = self.head(self.norm(x[:, -last:]))
        return painted


class MaskedVideo(nn.Module):
    """The video transformer on the visible tokens, and a small decoder that paints the hidden ones.

    Args:
        sizes: of the encoder; patches of 2 pixels or more.
        decoder: sizes of the decoder.
        statistics: channel mean and deviation that clips come normalised with.

    Raises:
        SettingsError: a patch of one pixel, which has no deviation.
    """

    code: Tensor
    mean: Tensor
    deviation: Tensor

    def __init__(
        self,
        sizes: VideoVitSizes,
        decoder: BlockSizes = DECODER,
        statistics: tuple[tuple[float, ...], tuple[float, ...]] = STATISTICS["imagenet"],
    ) -> None:
        super().__init__()
        if sizes.patch < 2:
            raise SettingsError(f"patch={sizes.patch}: masked pre-training needs patches of 2 pixels or more")
        self.sizes = sizes
        self.encoder = VideoVit(sizes, norm=True)
        self.encoder_to_decoder = nn.Linear(sizes.width, decoder.width, bias=False)
        self.mask_token = nn.Parameter(torch.empty(1, 1, decoder.width))
        self.decoder = _Decoder(decoder, 3 * sizes.patch**2)
        draw_weights(self)
        nn.init.trunc_normal_(self.mask_token, std=_TOKEN_DEVIATION)
        self.register_buffer("code", position_code(sizes.native, decoder.width), persistent=False)
        for name, values in zip(("mean", "deviation"), statistics, strict=True):
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1, 1), persistent=False)

    def loss(self, video: Tensor, mask: Tensor) -> Tensor:
        """Mean squared error over the hidden tokens, a scalar in float32; arguments as in `predict`."""
        return F.mse_loss(self.predict(video, mask).float(), self.target(video, mask))

    def predict(self, video: Tensor, mask: Tensor) -> Tensor:
        """The hidden patches as painted from the visible ones.

        Args:
            video: (B, 3, T, H, W), normalised.
            mask: bool (B, T * h * w), True = hidden; equally many in every clip.

        Returns:
            (B, hidden, 3 * patch * patch) in token order, laid out as `target`.

        Raises:
            SettingsError: see `VideoVit.forward`.
            ValueError: clips with different numbers of hidden tokens, or with none hidden or none visible.
        """
        hidden = _hidden(mask)
        order = mask.to(torch.uint8).argsort(dim=1, stable=True)  # visible tokens first, both in token order
        visible = self.encoder_to_decoder(self.encoder(video, order[:, :-hidden]))
        grid = self.encoder.grid(*video.shape[-2:])
        code = resized_code(self.code, self.sizes.native, video.shape[2], grid)
        tokens = torch.cat([visible, self.mask_token.to(visible).expand(len(video), hidden, -1)], dim=1)
        painted: Tensor = self.decoder(tokens + code[order], hidden)
        return painted

    @torch.no_grad()
    def target(self, video: Tensor, mask: Tensor) -> Tensor:
        """The hidden patches, each channel of each with its own mean taken off and divided by its deviation.

        Returns:
            float32 (B, hidden, patch * patch * 3), in token order; pixels row-major, colours innermost.
        """
        hidden = _hidden(mask)
        pixels = pixel_patches(video.float() * self.deviation + self.mean, self.sizes.patch)
        pixels = pixels[mask].view(len(video), hidden, *pixels.shape[2:])
        deviation, mean = torch.std_mean(pixels, dim=2, keepdim=True)
        return ((pixels - mean) / (deviation + _EPSILON)).flatten(2)


def _hidden(mask: Tensor) -> int:
    """How many tokens of every clip are hidden."""
    counts = mask.sum(dim=1).unique().tolist()
    if len(counts) != 1 or not 0 < counts[0] < mask.shape[1]:
        raise ValueError(
            f"clips of {mask.shape[1]} tokens with {counts} hidden ones: the number must be the same for all,"
            " above 0 and below all"
        )
    return int(counts[0])
