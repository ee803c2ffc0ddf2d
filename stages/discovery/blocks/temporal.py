"""Temporal binding: a transformer over the frames of a window, for every slot index alone (methods sheet
2.2).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class TemporalBinder(nn.Module):
    """Post-norm encoder layers over the frames of each slot; unavailable frames are not attended to.

    Args:
        width: d of slots.
        frames: of a window.
        layers, heads, hidden, dropout: of the encoder.
    """

    def __init__(
        self,
        width: int,
        frames: int,
        layers: int = 3,
        heads: int = 8,
        hidden: int = 512,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.position_embedding = nn.Parameter(torch.randn(1, frames, 1, width) * 0.02)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(width, heads, hidden, dropout, batch_first=True) for _ in range(layers)
        )

    def forward(self, slots: Tensor, available: Tensor) -> Tensor:
        """Bind.

        Args:
            slots: (B, T, K, d).
            available: bool (B, T); at least one frame of every window is.

        Returns:
            (B, T, K, d); meaningless where a frame is unavailable.
        """
        batch, frames, count, width = slots.shape
        rows = (slots + self.position_embedding).transpose(1, 2).reshape(batch * count, frames, width)
        missing = ~available.repeat_interleave(count, dim=0)
        # without gradients the layer takes a packed path of its own; a float mask keeps the ordinary one
        bias = torch.zeros_like(missing, dtype=rows.dtype).masked_fill_(missing, float("-inf"))
        for layer in self.layers:
            rows = layer(rows, src_key_padding_mask=bias)
        return rows.view(batch, count, frames, width).transpose(1, 2)
