"""Facets of a vision transformer: outputs of a block, keys and queries of the last attention, class token."""

from __future__ import annotations

from typing import Literal

import torch
from timm.models.vision_transformer import Block, VisionTransformer
from torch import nn

from stages.errors import SettingsError
from stages.features.backbones.positions import resize_positions

Tensors = dict[str, torch.Tensor]


class VitEncoder(nn.Module):
    """A timm ``VisionTransformer`` that returns the facets it is asked for, at any size of whole patches.

    Args:
        model: the transformer, weights loaded.
        facets: among ``tokens``, ``cls``, ``keys``, ``queries``.
        layer: block (0-based, negative from the end) whose output ``tokens`` and ``cls`` are.
        norm: whether that output goes through the model's final norm.
        positions: how position embeddings are resized, see `resize_positions`.

    Raises:
        SettingsError: the model has no such block, no class token, or attention of another kind.
    """

    def __init__(
        self,
        model: VisionTransformer,
        facets: tuple[str, ...] = ("tokens",),
        layer: int = -1,
        norm: bool = False,
        positions: Literal["offset", "antialias"] = "antialias",
    ) -> None:
        super().__init__()
        depth = len(model.blocks)
        if not -depth <= layer < depth:
            raise SettingsError(
                f"backbone.layer={layer}: the model has {depth} blocks, {-depth}..{depth - 1}"
            )
        if "cls" in facets and model.cls_token is None:
            raise SettingsError(
                "backbone.facets: the model has no class token; choose tokens, keys or queries"
            )
        self.attends = bool({"keys", "queries"} & set(facets))
        if self.attends and type(model.blocks[-1]) is not Block:
            raise SettingsError(
                "backbone.facets: the model's last block has no plain keys; choose tokens or cls"
            )
        self.model, self.facets, self.norm, self.positions = model, facets, norm, positions
        self.layer = layer % depth
        self.patch: tuple[int, int] = tuple(model.patch_embed.patch_size)
        self.multiple = max(self.patch)

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of patches; SettingsError where the frame is not whole patches."""
        if height % self.patch[0] or width % self.patch[1]:
            raise SettingsError(
                f"frames of {height}x{width} pixels are not whole patches of {self.patch[0]}x{self.patch[1]}"
                f": set the frames' size to multiples of {self.multiple}"
            )
        return height // self.patch[0], width // self.patch[1]

    def forward(self, images: torch.Tensor, kept: torch.Tensor | None = None) -> Tensors:
        """Facets of a batch.

        Args:
            images: (B, 3, H, W), normalised.
            kept: (n,) or (B, n) int64 row-major positions of the patches that enter the blocks, ascending:
                SOLV drops the others before the first block. None keeps all.

        Returns:
            ``tokens``, ``keys``, ``queries``: (B, N, D), N = n where patches were dropped; ``cls``: (B, D).
        """
        x = self.embed(images)
        if kept is not None:
            x = self._keep(x, kept)
        x = self.model.norm_pre(x)
        last = len(self.model.blocks) - 1
        found: Tensors = {}
        for index in range((last if self.attends else self.layer) + 1):
            if self.attends and index == last:
                found |= self._attended(x)
                if not self._ends_at(last):
                    break
            x = self.model.blocks[index](x)
            if self._ends_at(index):
                found |= self._outputs(x)
        return {facet: found[facet] for facet in self.facets}

    def _ends_at(self, index: int) -> bool:
        return index == self.layer and bool({"tokens", "cls"} & set(self.facets))

    def _outputs(self, x: torch.Tensor) -> Tensors:
        x = self.model.norm(x) if self.norm else x
        return {"tokens": x[:, self.model.num_prefix_tokens :], "cls": x[:, 0]}

    def _attended(self, x: torch.Tensor) -> Tensors:
        prefix = self.model.num_prefix_tokens
        queries, keys = (t[:, :, prefix:].transpose(1, 2).flatten(2) for t in self.queries_keys(x))
        return {"queries": queries, "keys": keys}

    def embed(self, images: torch.Tensor) -> torch.Tensor:
        """Tokens before the first block: (B, prefix + N, D), prefix = class and register tokens."""
        model = self.model
        patches = model.patch_embed.proj(images)
        grid = (patches.shape[-2], patches.shape[-1])
        patches = model.patch_embed.norm(patches.flatten(2).transpose(1, 2))
        extra = [t.expand(len(images), -1, -1) for t in (model.cls_token, model.reg_token) if t is not None]
        if model.pos_embed is None:
            return torch.cat([*extra, patches], dim=1)
        own = 0 if model.no_embed_class else model.num_prefix_tokens
        native = model.patch_embed.grid_size
        with torch.autocast(images.device.type, enabled=False):
            positions = resize_positions(model.pos_embed[:, own:], tuple(native), grid, self.positions)
        if own == 0:
            return torch.cat([*extra, patches + positions], dim=1)
        return torch.cat([*extra, patches], dim=1) + torch.cat([model.pos_embed[:, :own], positions], dim=1)

    def queries_keys(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Queries and keys of the last attention for its block's input: (B, heads, tokens, D / heads)."""
        block = self.model.blocks[-1]
        attention = block.attn
        qkv = attention.qkv(block.norm1(x))
        qkv = qkv.unflatten(2, (3, attention.num_heads, -1)).permute(2, 0, 3, 1, 4)
        return attention.q_norm(qkv[0]), attention.k_norm(qkv[1])

    def _keep(self, x: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
        prefix = self.model.num_prefix_tokens
        kept = kept.expand(len(x), -1) if kept.ndim == 1 else kept
        patches = x[:, prefix:].gather(1, kept[..., None].expand(-1, -1, x.shape[-1]))
        return torch.cat([x[:, :prefix], patches], dim=1)
