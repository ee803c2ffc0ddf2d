"""The broadcast MLP decoder: every slot paints all positions, and slots compete for each by their alpha.

Only active slots are decoded. The first layer is linear in slot, position and relative coordinates, so its
three parts are computed apart; the last layer commutes with the alpha-weighted sum, so the wide features are
computed once per position and not once per slot.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from stages.discovery.blocks.mlp import hidden_layers


class BroadcastDecoder(nn.Module):
    """Slots to features and masks.

    Args:
        slot_width: d.
        width: D of the features.
        tokens: N positions.
        hidden: widths of the layers between.
        relative_grid: whether slot-relative coordinates are an input (SOLV).
    """

    def __init__(
        self, slot_width: int, width: int, tokens: int, hidden: Sequence[int], relative_grid: bool = False
    ) -> None:
        super().__init__()
        self.position_embedding = nn.Parameter(torch.randn(1, tokens, slot_width) * 0.02)
        self.relative_grid_linear = nn.Linear(2, slot_width) if relative_grid else None
        self.layers = hidden_layers([slot_width, *hidden, width + 1])

    def forward(
        self,
        slots: Tensor,
        active: Tensor,
        relative: Tensor | None = None,
        positions: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Decode.

        Args:
            slots: (B, K, d).
            active: bool (B, K), at least one per sample.
            relative: (B, K, N, 2), with ``relative_grid``.
            positions: (N, d), codes of the positions that are painted; the learned ones by default.

        Returns:
            Reconstruction (B, N, D), and masks (B, K, N): a softmax over active slots, 0 for the others.
        """
        sample, slot = active.nonzero(as_tuple=True)
        codes = self.position_embedding.flatten(0, 1) if positions is None else positions
        rows = self._first(slots[sample, slot], codes, None if relative is None else relative[sample, slot])
        for layer in self._linear[1:-1]:
            rows = layer(rows.relu())
        rows = rows.relu()  # (M, N, h), one row of the batch per active slot
        last = self.last
        logits = rows @ last.weight[-1] + last.bias[-1]
        masks = self._compete(logits, active, sample, slot)
        summed = rows.new_zeros((len(slots), *rows.shape[1:]))
        summed = summed.index_add(0, sample, rows * masks[sample, slot][..., None])
        # masks sum to 1 over slots, so the bias counts once
        return summed @ last.weight[:-1].T + last.bias[:-1], masks

    @property
    def last(self) -> nn.Linear:
        """The layer that paints: D channels, then alpha."""
        return self._linear[-1]

    @property
    def _linear(self) -> list[nn.Linear]:
        return [layer for layer in self.layers if isinstance(layer, nn.Linear)]

    def _first(self, slots: Tensor, codes: Tensor, relative: Tensor | None) -> Tensor:
        """The first layer's output (M, N, h) for M slots (M, d) at positions with codes (N, d)."""
        first = self._linear[0]
        constant: Tensor = first.bias
        at_position = codes @ first.weight.T
        if self.relative_grid_linear is not None:
            assert relative is not None
            constant = constant + self.relative_grid_linear.bias @ first.weight.T
            at_position = at_position + relative @ (first.weight @ self.relative_grid_linear.weight).T
        rows: Tensor = at_position + (slots @ first.weight.T + constant)[:, None]
        return rows

    @staticmethod
    def _compete(logits: Tensor, active: Tensor, sample: Tensor, slot: Tensor) -> Tensor:
        """Masks (B, K, N) from the logits (M, N) of active slots."""
        full = logits.new_full((*active.shape, logits.shape[-1]), float("-inf"))
        return full.index_put((sample, slot), logits).softmax(dim=1)
