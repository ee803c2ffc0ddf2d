"""Invariant slot attention (SOLV, methods sheet 2.2): keys and values see tokens from where each slot looks.

The published formulation computes, for every slot and token, ``f(K x + g(R))`` with a two-layer ``f``. Here
the same numbers are had for less: keys only ever meet queries and values only ever meet weights, so the
second layer of ``f`` is applied to the query, and to the weighted sum; its first layer splits into a part
per token and a part that is linear in the two relative coordinates. Per slot and token there remain a 2-to-d
map, a sum and a ReLU.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from stages.discovery.blocks import grid as grids
from stages.discovery.blocks.slot_attention import SlotInit, SlotUpdate, compete

SMALL = 0.02
"""Deviation of the normal from which scales and positions start."""


class TokenMLP(nn.Module):
    """``f``: linear, ReLU, linear."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear1 = nn.Linear(width, width)
        self.linear2 = nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """(..., d) to (..., d)."""
        mapped: Tensor = self.linear2(self.linear1(tokens).relu())
        return mapped


class InvariantSlotAttention(nn.Module):
    """Slots with a position and a scale each, over the tokens of single frames.

    Args:
        width: d of tokens and slots.
        slots: K.
        rows, columns: of the patch grid; its coordinates are trained.
        iterations: updates; one more pass only attends.
        hidden: of the residual MLP.
        dropout: in it.
    """

    def __init__(
        self,
        width: int,
        slots: int,
        rows: int,
        columns: int,
        iterations: int = 3,
        hidden: int = 512,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.iterations = iterations
        self.coordinate_grid = nn.Parameter(grids.coordinates(rows, columns)[None, None])
        self.initial = SlotInit(slots, width, "learned")
        self.initial_scales = nn.Parameter(torch.randn(1, slots, 1, 2) * SMALL)
        self.initial_positions = nn.Parameter(torch.randn(1, slots, 1, 2) * SMALL)
        self.to_q = nn.Linear(width, width, bias=False)
        self.to_k = nn.Linear(width, width, bias=False)
        self.to_v = nn.Linear(width, width, bias=False)
        self.relative_grid_linear = nn.Linear(2, width)
        self.token_mlp = TokenMLP(width)
        self.slot_norm = nn.LayerNorm(width)
        self.update = SlotUpdate(width, hidden, "gru", dropout)
        self.output_linear = nn.Linear(width, width)

    def grid_of(self, kept: Tensor | None) -> Tensor:
        """Coordinates of the tokens at the positions ``kept`` int64 (B, N'), (B, N', 2); (1, N, 2) of all."""
        grid = self.coordinate_grid[0]
        if kept is None:
            return grid
        return grid.expand(len(kept), -1, -1).gather(1, kept[..., None].expand(-1, -1, 2))

    def forward(
        self, tokens: Tensor, kept: Tensor | None = None, draws: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Attend.

        Args:
            tokens: (B, N', d), projected.
            kept: int64 (B, N'), their positions on the grid, ascending; None: all of them.
            draws: a CPU generator (not used by learned slots).

        Returns:
            Slots (B, K, d), and of the last pass: attention over slots (B, K, N'), and the same normalised
            over tokens.
        """
        grid = self.grid_of(kept)
        first, second = self.token_mlp.linear1, self.token_mlp.linear2
        keys = self.to_k(tokens) @ first.weight.T
        values = self.to_v(tokens) @ first.weight.T
        axes = first.weight @ self.relative_grid_linear.weight  # (d, 2)
        offset = first.weight @ self.relative_grid_linear.bias + first.bias
        slots = self.initial(len(tokens), draws)
        positions = self.initial_positions[:, :, 0].expand(len(tokens), -1, -1)
        scales = self.initial_scales[:, :, 0].expand(len(tokens), -1, -1)
        for step in range(self.iterations + 1):
            previous, slots = slots, self.slot_norm(slots)
            towards = grids.relative(grid, positions, scales) @ axes.T + offset  # (B, K, N', d)
            queries = self.to_q(slots)
            logits = _meet(keys, towards, queries @ second.weight)
            logits = logits + (queries @ second.bias)[..., None]
            over_slots, weights = compete(logits * queries.shape[-1] ** -0.5)
            positions, scales = grids.locate(weights, grid)
            if step < self.iterations:
                gathered = second(_gather(values, towards, weights))
                slots = self.update(gathered, previous)
        return self.output_linear(slots), over_slots, weights


def _meet(keys: Tensor, towards: Tensor, queries: Tensor) -> Tensor:
    """(B, K, N): ``relu(keys + towards)`` times each slot's query; keys (B, N, d), queries (B, K, d)."""
    hidden = (keys[:, None] + towards).relu_()
    return (hidden @ queries[..., None])[..., 0]


def _gather(values: Tensor, towards: Tensor, weights: Tensor) -> Tensor:
    """(B, K, d): ``relu(values + towards)`` summed over tokens with ``weights`` (B, K, N)."""
    hidden = (values[:, None] + towards).relu_()
    return (weights[:, :, None] @ hidden)[:, :, 0]
