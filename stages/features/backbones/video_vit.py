"""The video vision transformer of VOL: one token per patch and frame, attention over the whole clip.

Methods sheet 1.2.1. Blocks and names of weights are those of VideoMAE, which took its blocks from BEiT, so
timm's BEiT block is used as it is: biases of queries and values are learned, that of keys is zero.
"""

from __future__ import annotations

from functools import partial

import torch
from timm.models.beit import Block
from torch import Tensor, nn
from torch.nn import functional as F

from stages.errors import SettingsError
from stages.features.backbones.video_sizes import BlockSizes, VideoVitSizes

BASE = 10_000.0
LayerNorm = partial(nn.LayerNorm, eps=1e-6)


def position_code(native: tuple[int, int, int], width: int) -> Tensor:
    """The fixed sine-cosine code of every token of a clip (methods sheet 1.2.1).

    The channels are those of time, of the row and of the column, one after the other; rows and columns have
    a third each, rounded down. It knows the order of a clip's frames, not how far apart they are.

    Args:
        native: frames, rows and columns.
        width: channels, 3 or more.

    Returns:
        float32 (frames * rows * columns, width), time-major, then row-major; computed in float64.
    """
    third = width // 3
    widths = (width - 2 * third, third, third)
    parts = []
    for axis, (count, channels) in enumerate(zip(native, widths, strict=True)):
        shape = [1, 1, 1, channels]
        shape[axis] = count
        parts.append(_waves(count, channels).view(shape).expand(*native, channels))
    return torch.cat(parts, dim=-1).flatten(0, 2).float()


def _waves(count: int, channels: int) -> Tensor:
    """float64 (count, channels): sines on even channels, cosines on odd ones, each pair of one frequency."""
    pairs = torch.arange(channels, dtype=torch.float64) // 2
    angles = torch.arange(count, dtype=torch.float64)[:, None] / BASE ** (2 * pairs / channels)
    even = torch.arange(channels) % 2 == 0
    return torch.where(even, angles.sin(), angles.cos())


def resized_code(code: Tensor, native: tuple[int, int, int], frames: int, grid: tuple[int, int]) -> Tensor:
    """The part of a position code for a clip of other size.

    Args:
        code: (T * R * C, D) of the native clip, see `position_code`.
        native: its T, R and C.
        frames: of the clip: the first times are used, whatever the clip's stride in its video.
        grid: rows and columns of the clip's patches. Another grid than the native one is interpolated
            bicubically frame by frame, without antialias and with corners not aligned.

    Returns:
        (frames * rows * columns, D).

    Raises:
        SettingsError: the clip has more frames than the code.
    """
    if frames > native[0]:
        raise SettingsError(
            f"a clip of {frames} frames is longer than the video transformer's position code of {native[0]}:"
            f" choose clips of at most {native[0]} frames"
        )
    code = code[: frames * native[1] * native[2]]
    if grid == native[1:]:
        return code
    fields = code.view(frames, native[1], native[2], -1).permute(0, 3, 1, 2)
    fields = F.interpolate(fields, size=grid, mode="bicubic", align_corners=False)
    return fields.permute(0, 2, 3, 1).flatten(0, 2)


def make_blocks(sizes: BlockSizes) -> nn.ModuleList:
    """Pre-norm blocks with exact GELU, a bias of queries and values only, and no dropping of paths."""
    make = partial(Block, sizes.width, sizes.heads, qkv_bias=True, norm_layer=LayerNorm)
    return nn.ModuleList(make() for _ in range(sizes.depth))


def draw_weights(module: nn.Module) -> None:
    """Give every linear layer in ``module`` uniform Xavier weights and a zero bias."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


class VideoVit(nn.Module):
    """Clips in, one token per patch and frame out. Each token depends on all frames of its clip.

    Args:
        sizes: of the transformer.
        norm: end with a layer norm, as in pre-training. Features are taken without (methods sheet 1.2.1).
    """

    code: Tensor

    def __init__(self, sizes: VideoVitSizes, norm: bool = False) -> None:
        super().__init__()
        self.sizes = sizes
        kernel = (1, sizes.patch, sizes.patch)
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv3d(3, sizes.width, kernel, stride=kernel)})
        self.blocks = make_blocks(sizes)
        self.norm: nn.Module = LayerNorm(sizes.width) if norm else nn.Identity()
        self.register_buffer("code", position_code(sizes.native, sizes.width), persistent=False)
        draw_weights(self)

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of patches of frames of ``height`` x ``width`` pixels.

        Raises:
            SettingsError: they are not whole patches.
        """
        patch = self.sizes.patch
        if height % patch or width % patch or not height or not width:
            raise SettingsError(
                f"frames of {height}x{width} pixels are not whole patches of {patch}x{patch}: set the frames'"
                f" size to multiples of {patch}"
            )
        return height // patch, width // patch

    def embed(self, video: Tensor) -> Tensor:
        """Tokens before the first block, (B, T * h * w, D), of clips (B, 3, T, H, W)."""
        grid = self.grid(*video.shape[-2:])
        patches = self.patch_embed["proj"](video).flatten(2).transpose(1, 2)
        return patches + resized_code(self.code, self.sizes.native, video.shape[2], grid)

    def forward(self, video: Tensor, kept: Tensor | None = None) -> Tensor:
        """Tokens after the last block.

        Args:
            video: (B, 3, T, H, W), normalised.
            kept: int64 (B, n), the tokens that enter the blocks (pre-training leaves most out); None for all.

        Returns:
            (B, T * h * w, D), time-major, then row-major; (B, n, D), in the order of ``kept``.

        Raises:
            SettingsError: frames that are not whole patches, or more frames than the position code has.
        """
        x = self.embed(video)
        if kept is not None:
            x = x.gather(1, kept[..., None].expand(-1, -1, x.shape[-1]))
        for block in self.blocks:
            x = block(x)
        return self.norm(x)
