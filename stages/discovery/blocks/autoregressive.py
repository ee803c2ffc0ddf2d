"""The autoregressive transformer decoder (DINOSAUR, methods sheet 6.1): patches are predicted one after the
other, from those before and from the slots.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

FEEDFORWARD = 4
"""Width between the linear layers of a block, in widths of the features."""


class AutoregressiveDecoder(nn.Module):
    """Pre-norm decoder blocks without position codes and without a last norm.

    Args:
        slot_width: d.
        width: D of the features, which is also that of the blocks.
        layers: of the transformer.
        heads: of its attention; they share ``width``.
    """

    def __init__(self, slot_width: int, width: int, layers: int = 4, heads: int = 8) -> None:
        super().__init__()
        self.first = nn.Parameter(torch.randn(1, 1, width) * width**-0.5)
        self.slot_linear = nn.Linear(slot_width, width, bias=False)
        self.slot_norm = nn.LayerNorm(width)
        self.feature_linear = nn.Linear(width, width, bias=False)
        self.feature_norm = nn.LayerNorm(width)
        nn.init.xavier_uniform_(self.slot_linear.weight)
        nn.init.xavier_uniform_(self.feature_linear.weight)
        self.layers = nn.ModuleList(
            nn.TransformerDecoderLayer(
                width, heads, FEEDFORWARD * width, 0.0, batch_first=True, norm_first=True
            )
            for _ in range(layers)
        )

    def forward(self, slots: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        """Decode with the true features before each patch at hand; no gradient reaches them.

        Args:
            slots: (B, K, d).
            features: (B, N, D), row-major.

        Returns:
            Reconstruction (B, N, D), and masks (B, K, N): what each patch attends to in the last block, mean
            over heads; they sum to 1 over K.
        """
        memory = self.slot_norm(self.slot_linear(slots))
        before = torch.cat([self.first.expand(len(features), -1, -1), features[:, :-1].detach()], dim=1)
        rows = self.feature_norm(self.feature_linear(before))
        size = rows.shape[1]
        future = torch.ones(size, size, dtype=torch.bool, device=rows.device).triu(1)
        masks = rows.new_zeros(len(rows), size, memory.shape[1])
        for layer in self.layers:
            assert isinstance(layer, nn.TransformerDecoderLayer)
            rows, masks = _block(layer, rows, memory, future)
        return rows, masks.mT


def _block(
    layer: nn.TransformerDecoderLayer, rows: Tensor, memory: Tensor, future: Tensor
) -> tuple[Tensor, Tensor]:
    """A pre-norm block as the layer itself computes it, with the weights of its cross-attention (B, N, K)."""
    normed = layer.norm1(rows)
    rows = rows + layer.self_attn(normed, normed, normed, attn_mask=future, need_weights=False)[0]
    seen, weights = layer.multihead_attn(layer.norm2(rows), memory, memory)
    rows = rows + seen
    return rows + layer.linear2(layer.linear1(layer.norm3(rows)).relu()), weights
