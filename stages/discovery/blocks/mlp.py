"""Small feed-forward blocks."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn


class InputProjection(nn.Module):
    """LN, linear, ReLU, linear, and a last LN where asked for: (..., D) to (..., d).

    Args:
        width: D of the features.
        slot_width: d.
        norm_out: whether a LayerNorm follows (SOLV) or not (VOL, DINOSAUR).
        hidden: width between the linear layers; 0: D.
        norm_in: whether it begins with a LayerNorm.
    """

    def __init__(
        self, width: int, slot_width: int, norm_out: bool = True, hidden: int = 0, norm_in: bool = True
    ) -> None:
        super().__init__()
        hidden = hidden or width
        self.norm_in = nn.LayerNorm(width) if norm_in else nn.Identity()
        self.linear1 = nn.Linear(width, hidden)
        self.linear2 = nn.Linear(hidden, slot_width)
        self.norm_out = nn.LayerNorm(slot_width) if norm_out else nn.Identity()

    def forward(self, features: Tensor) -> Tensor:
        """Project every token alone."""
        projected: Tensor = self.norm_out(self.linear2(self.linear1(self.norm_in(features)).relu()))
        return projected


class ResidualMLP(nn.Module):
    """``s + dropout(linear(relu(linear(LN(s)))))``.

    Args:
        width: of the slots.
        hidden: of the layer between.
        dropout: after the second linear (SOLV's code: 0.1).
    """

    def __init__(self, width: int, hidden: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.linear1 = nn.Linear(width, hidden)
        self.linear2 = nn.Linear(hidden, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, slots: Tensor) -> Tensor:
        """Same shape as ``slots`` (..., d)."""
        updated: Tensor = slots + self.dropout(self.linear2(self.linear1(self.norm(slots)).relu()))
        return updated


def hidden_layers(widths: Sequence[int]) -> nn.ModuleList:
    """Linear layers between consecutive ``widths``."""
    return nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))
