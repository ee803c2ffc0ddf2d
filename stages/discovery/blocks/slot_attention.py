"""The slot-attention family (methods sheet 0.2): slots compete for tokens, and are updated by what they win.

`SlotUpdate` and `compete` are what all members share; `SlotAttention` is the plain member,
`stages.discovery.blocks.invariant.InvariantSlotAttention` the one with slot-relative coordinates.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from stages.discovery.blocks.mlp import ResidualMLP

EPSILON = 1e-8

Init = Literal["learned", "gaussian"]
Update = Literal["gru", "residual"]
Gradient = Literal["full", "implicit", "fixed_point", "bilevel"]


def compete(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Attention from logits (B, K, N), scaled already.

    Returns:
        The softmax over slots (B, K, N), and the same plus 1e-8 divided by its sum over tokens.
    """
    over_slots = logits.softmax(dim=1)
    shifted = over_slots + EPSILON
    return over_slots, shifted / shifted.sum(dim=2, keepdim=True)


class SlotInit(nn.Module):
    """Where slots start.

    Args:
        slots: K.
        width: d.
        kind: ``learned``: K vectors of their own, Xavier (SOLV); ``gaussian``: one mean and log-deviation
            that all slots share, drawn anew at every call (VOL, DINOSAUR).
    """

    def __init__(self, slots: int, width: int, kind: Init = "learned") -> None:
        super().__init__()
        self._slots, self.kind = slots, kind
        if kind == "learned":
            self.vectors = nn.Parameter(nn.init.xavier_uniform_(torch.empty(1, slots, width)))
        else:
            self.mean = nn.Parameter(nn.init.xavier_uniform_(torch.empty(1, 1, width)))
            self.log_std = nn.Parameter(nn.init.xavier_uniform_(torch.empty(1, 1, width)))

    def forward(self, batch: int, draws: torch.Generator | None = None) -> Tensor:
        """Slots (B, K, d); ``draws`` is a CPU generator, the global one by default."""
        if self.kind == "learned":
            return self.vectors.expand(batch, -1, -1)
        return self.place(torch.randn(batch, self._slots, self.mean.shape[-1], generator=draws))

    def place(self, noise: Tensor) -> Tensor:
        """Slots where standard normal ``noise`` (B, K, d) puts them in the shared Gaussian."""
        return self.mean + self.log_std.exp() * noise.to(self.mean)


class SlotUpdate(nn.Module):
    """New slots from old ones and what they gathered.

    Args:
        width: d.
        hidden: of the residual MLP; 0 for none.
        kind: ``gru``, or ``residual``: the gathered values are added (SMTC).
        dropout: in the residual MLP.
    """

    def __init__(self, width: int, hidden: int, kind: Update = "gru", dropout: float = 0.0) -> None:
        super().__init__()
        self.gru = nn.GRUCell(width, width) if kind == "gru" else None
        self.mlp = ResidualMLP(width, hidden, dropout) if hidden else nn.Identity()

    def forward(self, gathered: Tensor, slots: Tensor) -> Tensor:
        """Both (B, K, d); so is the result."""
        if self.gru is None:
            updated = slots + gathered
        else:
            width = slots.shape[-1]
            updated = self.gru(gathered.reshape(-1, width), slots.reshape(-1, width)).view_as(slots)
        result: Tensor = self.mlp(updated)
        return result


def cut(slots: Tensor, start: Tensor, step: int, iterations: int, gradient: Gradient) -> Tensor:
    """Slots before step ``step`` with the gradient rule applied (methods sheet 0.2, notes).

    ``fixed_point`` and ``implicit`` detach before the last step; ``bilevel`` does too, and keeps a path to
    the initial slots. (``implicit`` makes one step more than ``iterations``; the caller counts them.)
    """
    if gradient == "full" or step != iterations - 1:
        return slots
    if gradient == "bilevel":
        return slots.detach() + start - start.detach()
    return slots.detach()


class SlotAttention(nn.Module):
    """Plain slot attention over (B, N, d) tokens.

    Args:
        width: d of tokens and slots.
        slots: K.
        iterations: updates.
        hidden: of the residual MLP.
        init, update, gradient: see `SlotInit`, `SlotUpdate`, `cut`.
        bias: whether q, k and v have biases.
        dropout: in the residual MLP.
        norm_inputs: LayerNorm on the tokens (all but SOLV, whose projection ends with one).
        normalised_hidden: the update starts from the normalised slots (VideoSAUR).
        extra_pass: one more pass that only attends, whose attention is returned and whose slots are the
            normalised ones through a last linear (SOLV).
    """

    def __init__(
        self,
        width: int,
        slots: int,
        iterations: int = 3,
        hidden: int = 0,
        init: Init = "gaussian",
        update: Update = "gru",
        gradient: Gradient = "full",
        bias: bool = False,
        dropout: float = 0.0,
        norm_inputs: bool = True,
        normalised_hidden: bool = False,
        extra_pass: bool = False,
    ) -> None:
        super().__init__()
        self.iterations = iterations + (gradient == "implicit")
        self.gradient, self._normalised, self._extra = gradient, normalised_hidden, extra_pass
        self.initial = SlotInit(slots, width, init)
        self.input_norm = nn.LayerNorm(width) if norm_inputs else nn.Identity()
        self.slot_norm = nn.LayerNorm(width)
        self.to_q = nn.Linear(width, width, bias=bias)
        self.to_k = nn.Linear(width, width, bias=bias)
        self.to_v = nn.Linear(width, width, bias=bias)
        self.update = SlotUpdate(width, hidden, update, dropout)
        self.output_linear = nn.Linear(width, width) if extra_pass else nn.Identity()

    def forward(
        self, tokens: Tensor, draws: torch.Generator | None = None, start: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Slots (B, K, d), attention over slots (B, K, N), and the same normalised over tokens.

        Args:
            tokens: (B, N, d).
            draws: of the initial slots, a CPU generator.
            start: initial slots (B, K, d) instead of drawn ones.
        """
        tokens = self.input_norm(tokens)
        keys, values = self.to_k(tokens), self.to_v(tokens)
        scale = keys.shape[-1] ** -0.5
        start = slots = self.initial(len(tokens), draws) if start is None else start
        for step in range(self.iterations):
            slots = cut(slots, start, step, self.iterations, self.gradient)
            normed = self.slot_norm(slots)
            over_slots, over_tokens = compete(self.to_q(normed) @ keys.mT * scale)
            slots = self.update(over_tokens @ values, normed if self._normalised else slots)
        if self._extra:
            slots = self.slot_norm(slots)
            over_slots, over_tokens = compete(self.to_q(slots) @ keys.mT * scale)
        return self.output_linear(slots), over_slots, over_tokens
