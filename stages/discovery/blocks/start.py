"""Initial weights for short trainings of small models: ours, not the papers' (see `SolvMethod.start`).

With published weights less than 1 % of the variance of fresh slots comes from the video, and a small model
spends its few thousand steps painting every frame in its mean colour. As a soft clustering of the tokens
slots say something from the first step on; the decoder has only to learn to read them.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from stages.discovery.blocks.decoder import BroadcastDecoder
from stages.discovery.blocks.invariant import InvariantSlotAttention
from stages.discovery.blocks.mlp import ResidualMLP
from stages.discovery.blocks.slot_attention import SlotAttention
from stages.discovery.blocks.temporal import TemporalBinder

SHARPNESS = 2.0
"""Scale of queries and of keys. Slots and tokens are normalised to length sqrt(d), so logits are
``SHARPNESS ** 2 * sqrt(d)`` times a cosine."""

QUIET = 0.1
"""Factor on the weights of what is added to slots, which shall stay what they gathered."""

KEEP = -2.0
"""Bias of the GRU's gate between old slot and new: 12 % old."""

LINEAR = 3.0
"""Bias that keeps the ReLU between two identities linear for normalised tokens."""


def spread(attention: SlotAttention | InvariantSlotAttention) -> None:
    """Slots of deviation 1, and equal orthogonal maps for queries and keys: attention goes by angle."""
    attention.initial.vectors.data.normal_()
    nn.init.orthogonal_(attention.to_q.weight)
    attention.to_k.weight.data.copy_(attention.to_q.weight)


def keep_scale(model: nn.Module) -> None:
    """Orthogonal weights and no biases in linear layers: inputs that differ give outputs that differ."""
    for name, layer in model.named_modules():
        if not isinstance(layer, nn.Linear) or "self_attn" in name:
            continue
        before_relu = "linear1" in name or "decoder.layers" in name
        nn.init.orthogonal_(layer.weight, nn.init.calculate_gain("relu") if before_relu else 1.0)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


@torch.no_grad()
def cluster(attention: SlotAttention | InvariantSlotAttention) -> None:
    """Soft spherical k-means: a slot becomes the mean of the tokens whose angle to it is small.

    The initial slots are drawn with deviation 1; positions hardly count at first.
    """
    if attention.initial.kind == "gaussian":
        nn.init.zeros_(attention.initial.mean)
        nn.init.zeros_(attention.initial.log_std)
    else:
        attention.initial.vectors.normal_()
    for linear, scale in ((attention.to_q, SHARPNESS), (attention.to_k, SHARPNESS), (attention.to_v, 1.0)):
        nn.init.eye_(linear.weight).mul_(scale)
    if isinstance(attention.output_linear, nn.Linear):
        nn.init.eye_(attention.output_linear.weight)
    _gather_alone(attention.update.gru)
    if isinstance(attention.update.mlp, ResidualMLP):
        attention.update.mlp.linear2.weight.mul_(QUIET)
    if isinstance(attention, InvariantSlotAttention):
        first, second = attention.token_mlp.linear1, attention.token_mlp.linear2
        for linear, bias in ((first, LINEAR), (second, -LINEAR)):
            nn.init.eye_(linear.weight)
            nn.init.constant_(linear.bias, bias)
        attention.relative_grid_linear.weight.mul_(QUIET)


def _gather_alone(gru: nn.GRUCell | None) -> None:
    """The new slot is what was gathered, squashed; little of the old one stays."""
    assert gru is not None
    for parameter in gru.parameters():
        nn.init.zeros_(parameter)
    nn.init.eye_(gru.weight_ih.chunk(3)[2]).mul_(math.sqrt(0.5))
    nn.init.constant_(gru.bias_ih.chunk(3)[1], KEEP)


@torch.no_grad()
def pass_through(binder: TemporalBinder) -> None:
    """Layers of a temporal transformer add little at first."""
    for layer in binder.layers:
        assert isinstance(layer, nn.TransformerEncoderLayer)
        layer.self_attn.out_proj.weight.mul_(QUIET)
        layer.linear2.weight.mul_(QUIET)


@torch.no_grad()
def paint_quietly(decoder: BroadcastDecoder, grid: Tensor) -> None:
    """Position codes that are alike where positions are near, and at first a grey picture and even masks.

    Args:
        decoder: its codes are learned for the positions ``grid`` (N, 2), in one or more frames.
        grid: in [-1, 1].
    """
    codes = decoder.position_embedding
    codes.copy_(waves(grid, codes.shape[-1]).expand_as(codes))
    decoder.last.weight.mul_(QUIET)
    if decoder.relative_grid_linear is not None:
        decoder.relative_grid_linear.weight.mul_(QUIET)


def slower_encoder(model: nn.Module, decoder: nn.Module, rate: float, share: float) -> list[dict[str, Any]]:
    """An optimiser's groups: the decoder learns at ``rate``, all else in ``model`` at ``share`` of it."""
    painting = list(decoder.parameters())
    known = set(painting)
    others = [parameter for parameter in model.parameters() if parameter not in known]
    return [{"params": others, "lr": rate * share}, {"params": painting, "lr": rate}]


def waves(grid: Tensor, width: int) -> Tensor:
    """Random codes of positions that are alike where positions are near, (N, width), of deviation about 1.

    Args:
        grid: (N, 2) in [-1, 1].
        width: of a code.
    """
    turns = torch.cat([grid * (math.pi / 2 * frequency) for frequency in (1, 2, 3)], dim=-1)
    basis = torch.cat([grid, turns.sin(), turns.cos()], dim=-1)
    mixed: Tensor = basis @ torch.randn(basis.shape[-1], width)
    return mixed / mixed.std()
