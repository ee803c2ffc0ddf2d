"""Features without their common part."""

from __future__ import annotations

import torch
from torch import Tensor, nn

SETTLED = 100


class Centring(nn.Module):
    """Subtracts the mean token of the training set, as its first 100 training batches show it; then it rests.

    What all tokens share says nothing about which belong together, but in attention over slots it makes the
    slot that lies nearest to it win them all.

    Args:
        width: D.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("batches", torch.zeros((), dtype=torch.int64))
        self.mean: Tensor
        self.batches: Tensor

    def learn(self, tokens: Tensor, available: Tensor) -> None:
        """Take a training batch into the mean, unless it is settled.

        Args:
            tokens: (B, F, N, D).
            available: bool (B, F); frames outside of the video don't count.
        """
        if int(self.batches) >= SETTLED:
            return
        with torch.no_grad():
            self.batches += 1
            found = tokens[available].flatten(0, 1).mean(dim=0)
            self.mean += (found - self.mean) / self.batches

    def forward(self, tokens: Tensor) -> Tensor:
        """Same shape (..., D)."""
        return tokens - self.mean
