"""SOLV's two heavy blocks as they are written down (methods sheet 2.2): what `benchmarks/training.py` holds
ours against, in numbers and in time.

Keys and values of invariant slot attention go through all linear maps once per slot and token; the decoder is
a plain MLP on all K broadcast slots, with a last layer of D + 1 outputs. Autograd saves what it wants. Both
have the parameters of the blocks in `stages/`, under the same names.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from stages.discovery.blocks.decoder import BroadcastDecoder
from stages.discovery.blocks.invariant import InvariantSlotAttention
from stages.discovery.solv_model import SolvModel

EPSILON = 1e-8


class DirectAttention(InvariantSlotAttention):
    """``k = f(K x + g(R))`` and ``v = f(V x + g(R))`` of shape (B, K, N', d), in every pass."""

    def forward(
        self, tokens: Tensor, kept: Tensor | None = None, draws: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """See `InvariantSlotAttention.forward`."""
        grid = self.grid_of(kept)[:, None]  # (B or 1, 1, N', 2)
        keys, values = self.to_k(tokens)[:, None], self.to_v(tokens)[:, None]
        slots = self.initial(len(tokens), draws)
        positions, scales = self.initial_positions, self.initial_scales  # (B or 1, K, 1, 2)
        for step in range(self.iterations + 1):
            previous, slots = slots, self.slot_norm(slots)
            towards = self.relative_grid_linear((grid - positions) / (5 * scales))
            each_key = self.token_mlp(keys + towards)
            logits = torch.einsum("bkd,bknd->bkn", self.to_q(slots), each_key)
            shares = (logits * slots.shape[-1] ** -0.5).softmax(dim=1)
            weights = shares + EPSILON
            weights = weights / weights.sum(dim=2, keepdim=True)
            positions = torch.einsum("bkn,bknc->bkc", weights, grid.expand(*weights.shape, 2))[:, :, None]
            squares = (grid - positions).square()
            scales = torch.einsum("bkn,bknc->bkc", weights, squares)[:, :, None].sqrt()
            if step < self.iterations:
                gathered = torch.einsum("bkn,bknd->bkd", weights, self.token_mlp(values + towards))
                slots = self.update(gathered, previous)
        return self.output_linear(slots), shares, weights


class DirectDecoder(BroadcastDecoder):
    """Every slot, also inactive ones, at every position through every layer."""

    def forward(self, slots: Tensor, active: Tensor, relative: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """See `BroadcastDecoder.forward`."""
        rows = slots[:, :, None] + self.position_embedding
        if self.relative_grid_linear is not None:
            rows = rows + self.relative_grid_linear(relative)
        for number, layer in enumerate(self.layers):
            rows = layer(rows if number == 0 else rows.relu())
        features, logits = rows[..., :-1], rows[..., -1]
        masks = logits.masked_fill(~active[..., None], float("-inf")).softmax(dim=1)
        return (features * masks[..., None]).sum(dim=1), masks


def direct(block: nn.Module) -> nn.Module:
    """A copy of a `SolvModel` or of one of the two blocks that computes directly, with equal parameters."""
    found = copy.deepcopy(block)
    parts = [found.slot_attention, found.decoder] if isinstance(found, SolvModel) else [found]
    for part in parts:
        part.__class__ = DirectDecoder if isinstance(part, BroadcastDecoder) else DirectAttention
    return found
