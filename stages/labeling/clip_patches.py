"""CLIP's image tower that keeps its patches, at any size of whole ones (methods sheet 1.2.5 and 6.6)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from open_clip.transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional as F

from stages.errors import SettingsError
from stages.labeling.clip_spec import no_patches


@dataclass(frozen=True)
class PatchOutputs:
    """What one pass of the tower gives for B images of N patches.

    Attributes:
        penultimate: (B, 1 + N, D), output of the last block but one, class token first.
        image: (B, E), the image embedding g, not normalised.
        plain: (B, N, E), patch features of the unmodified tower.
    """

    penultimate: Tensor
    image: Tensor
    plain: Tensor


class PatchTower(nn.Module):
    """A frozen ``VisionTransformer`` of open_clip that keeps its patches.

    Args:
        visual: the image tower, weights loaded; it is frozen and put into eval mode.
        name: what an error calls it.

    Raises:
        SettingsError: a tower of another kind, or one that pools its patches by attention.
    """

    def __init__(self, visual: nn.Module, name: str = "this model") -> None:
        super().__init__()
        if not isinstance(visual, VisionTransformer):
            raise no_patches(name, f"its image tower is a {type(visual).__name__}")
        if visual.attn_pool is not None or visual.pool_type not in ("tok", "avg") or visual.proj is None:
            raise no_patches(name, "its image tower pools its patches by attention")
        self.visual = visual.eval().requires_grad_(False)
        self.patch: tuple[int, int] = tuple(visual.patch_size)
        self.native: tuple[int, int] = tuple(visual.grid_size)
        self.width: int = visual.transformer.width
        self.heads: int = visual.transformer.resblocks[0].attn.num_heads
        self.embedding: int = visual.output_dim

    def train(self, mode: bool = True) -> PatchTower:
        """Stays in eval mode: it is frozen."""
        return super().train(False)

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of patches; SettingsError where the image is not whole patches."""
        if height % self.patch[0] or width % self.patch[1] or not height or not width:
            raise SettingsError(
                f"frames of {height}x{width} pixels are not whole patches of {self.patch[0]}x{self.patch[1]} "
                f"for CLIP: set the frames' size to multiples of {max(self.patch)}"
            )
        return height // self.patch[0], width // self.patch[1]

    @torch.no_grad()
    def forward(self, images: Tensor) -> PatchOutputs:
        """One pass over normalised images (B, 3, H, W), row-major patches."""
        penultimate = self.penultimate(images)
        image, plain = self.finish(penultimate)
        return PatchOutputs(penultimate, image, plain)

    @torch.no_grad()
    def penultimate(self, images: Tensor) -> Tensor:
        """Output of the last block but one, (B, 1 + N, D), for normalised images (B, 3, H, W)."""
        visual = self.visual
        grid = self.grid(*images.shape[-2:])
        patches = visual.conv1(images).flatten(2).transpose(1, 2)
        first = visual.class_embedding.to(patches.dtype).expand(len(patches), 1, -1)
        x = torch.cat([first, patches], dim=1) + self.positions(grid).to(patches.dtype)
        return self._through(visual.ln_pre(x), 0, len(visual.transformer.resblocks) - 1)

    @torch.no_grad()
    def finish(self, penultimate: Tensor) -> tuple[Tensor, Tensor]:
        """The last block and the projection: image embedding (B, E) and plain patch features (B, N, E)."""
        visual = self.visual
        depth = len(visual.transformer.resblocks)
        x = self._through(penultimate, depth - 1, depth)
        normed = visual.ln_post(x)
        if visual.pool_type == "tok":
            pooled = normed[:, 0]
        elif visual.final_ln_after_pool:
            pooled = visual.ln_post(x[:, 1:].mean(dim=1))
        else:
            pooled = normed[:, 1:].mean(dim=1)
        return pooled @ visual.proj, normed[:, 1:] @ visual.proj

    def positions(self, grid: tuple[int, int]) -> Tensor:
        """Position embedding (1 + N, D): the class part kept, the others resized bicubically to ``grid``."""
        table = self.visual.positional_embedding
        if grid == self.native:
            return table
        field = table[1:].float().T.unflatten(1, self.native)[None]
        resized = F.interpolate(field, size=grid, mode="bicubic", align_corners=False)
        return torch.cat([table[:1].float(), resized[0].flatten(1).T])

    def _through(self, x: Tensor, first: int, end: int) -> Tensor:
        transformer = self.visual.transformer
        batch_first = getattr(transformer, "batch_first", False)
        x = x if batch_first else x.transpose(0, 1)
        for block in transformer.resblocks[first:end]:
            x = block(x)
        return x if batch_first else x.transpose(0, 1)
