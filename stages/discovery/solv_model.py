"""SOLV's model (methods sheet 2.2): projection, spatial binding, temporal binding, merging, decoding."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from stages.discovery.blocks import grid as grids
from stages.discovery.blocks import start
from stages.discovery.blocks.centring import Centring
from stages.discovery.blocks.decoder import BroadcastDecoder
from stages.discovery.blocks.invariant import InvariantSlotAttention
from stages.discovery.blocks.mlp import InputProjection
from stages.discovery.blocks.slot_attention import SlotAttention
from stages.discovery.blocks.temporal import TemporalBinder
from stages.discovery.contract import Batch, FeatureShape, Progress
from stages.discovery.solv import SolvMethod
from stages.discovery.tokens import choose_kept, gather_tokens, pick_version
from stages.errors import SettingsError
from stages.merging.slots import Merged, assign, merge

Encoder = Callable[[Tensor, Tensor], Tensor]
"""Frames (B, P, 3) of pixels and kept positions (B, N') to patch tokens (B, N', D)."""


@dataclass(frozen=True)
class Bound:
    """Spatial binding of B windows of F frames.

    Attributes:
        slots: (B, F, K, d).
        shares: (B, F, K, N'), attention over slots: sums to 1 over K.
        attention: (B, F, K, N'), the same normalised over tokens.
    """

    slots: Tensor
    shares: Tensor
    attention: Tensor

    def windows(self, rows: Tensor) -> Bound:
        """The windows (W, F) of frame numbers ``rows``, from the frames of the only sample."""
        return Bound(self.slots[0][rows], self.shares[0][rows], self.attention[0][rows])


@dataclass(frozen=True)
class Found:
    """The model's result for B windows, on their centre frames.

    Attributes:
        reconstruction: (B, N, D).
        masks: (B, K, N), the decoder's alpha; 0 in inactive rows.
        merged: slots, attention and counts after merging.
        shares: (B, K, N'), the slot attention's own masks: what each token gives to each merged slot.
    """

    reconstruction: Tensor
    masks: Tensor
    merged: Merged
    shares: Tensor


class SolvModel(nn.Module):
    """A `stages.discovery.contract.Trainable`.

    Args:
        method: the options.
        shape: of the features.
        encoder: the frozen backbone on kept tokens, for ``token_drop=online``.
    """

    def __init__(self, method: SolvMethod, shape: FeatureShape, encoder: Encoder | None = None) -> None:
        super().__init__()
        self.method, self.shape, self.encoder = method, shape, encoder
        width = method.slot_width
        self.centring = Centring(shape.width) if method.centre_features else None
        self.input_projection = InputProjection(
            shape.width, width, hidden=method.projection, norm_in=method.input_norm
        )
        self.slot_attention: InvariantSlotAttention | SlotAttention
        if method.invariant:
            self.slot_attention = InvariantSlotAttention(
                width,
                method.slots,
                shape.rows,
                shape.columns,
                method.iterations,
                method.hidden,
                method.dropout,
            )
        else:
            self.slot_attention = SlotAttention(
                width,
                method.slots,
                method.iterations,
                method.hidden,
                "learned",
                dropout=method.dropout,
                norm_inputs=False,
                extra_pass=True,
            )
        self.temporal = None
        if method.temporal:
            self.temporal = TemporalBinder(
                width,
                method.frames,
                method.temporal_layers,
                method.temporal_heads,
                method.hidden,
                method.dropout,
            )
        self.target_width = method.target_channels or shape.width
        if self.target_width > shape.width:
            raise SettingsError(
                f"solv.target_channels={method.target_channels}: "
                f"the features {method.facet} have {shape.width} channels"
            )
        self.decoder = BroadcastDecoder(
            width, self.target_width, shape.tokens, method.decoder, method.invariant
        )
        self._start()

    def _start(self) -> None:
        """Initial weights other than the published ones: see `SolvMethod.start`."""
        if self.method.start == "spread":
            start.spread(self.slot_attention)
        elif self.method.start == "clustering":
            start.keep_scale(self)
            start.cluster(self.slot_attention)
            if self.temporal is not None:
                start.pass_through(self.temporal)
            start.paint_quietly(self.decoder, grids.coordinates(self.shape.rows, self.shape.columns))

    def training_step(self, batch: Batch, progress: Progress, draws: torch.Generator) -> dict[str, Tensor]:
        """The reconstruction loss: mean squared error over batch, tokens and channels (sheet 2.3)."""
        tokens, kept = self._dropped(batch, draws)
        if self.centring is not None:
            self.centring.learn(tokens, batch.available)
        skip = self._skipped(len(tokens), progress, draws)
        found = self(tokens, batch.available, kept, skip)
        target = self._target(batch.features["base", self.method.facet][:, self.method.frames // 2])
        loss = (found.reconstruction - target).square().mean()
        return {"loss": loss, "slots": found.merged.count.float().mean()}

    def after_step(self, progress: Progress) -> None:
        """Nothing: there is no teacher."""

    def forward(
        self, tokens: Tensor, available: Tensor, kept: Tensor | None = None, skip: Tensor | None = None
    ) -> Found:
        """Windows to the masks and the reconstruction of their centre frames.

        Args:
            tokens: (B, F, N', D).
            available: bool (B, F).
            kept: int64 (B, F, N'), positions of the tokens; None: all N.
            skip: bool (B), samples whose slots are not merged; None: merge as configured.
        """
        return self.decode(self.bind(tokens, kept), available, kept, skip)

    def bind(self, tokens: Tensor, kept: Tensor | None = None) -> Bound:
        """Spatial binding of every frame alone."""
        batch, frames = tokens.shape[:2]
        flat_tokens = tokens.flatten(0, 1)
        if self.centring is not None:
            flat_tokens = self.centring(flat_tokens)
        projected = self.input_projection(flat_tokens)
        flat = None if kept is None else kept.flatten(0, 1)
        if isinstance(self.slot_attention, InvariantSlotAttention):
            found = self.slot_attention(projected, flat)
        else:
            found = self.slot_attention(projected)
        return Bound(*(part.unflatten(0, (batch, frames)) for part in found))

    def decode(
        self,
        bound: Bound,
        available: Tensor,
        kept: Tensor | None = None,
        skip: Tensor | None = None,
    ) -> Found:
        """Temporal binding, merging and decoding of what `bind` gave for windows of frames."""
        centre = self.method.frames // 2
        slots = bound.slots if self.temporal is None else self.temporal(bound.slots, available)
        merged = self._merge(slots[:, centre], bound.attention[:, centre], skip)
        relative = None
        if isinstance(self.slot_attention, InvariantSlotAttention):
            grid = self.slot_attention.grid_of(None if kept is None else self._grid_rows(kept))
            relative = grids.relative(
                self.slot_attention.grid_of(None), *grids.locate(merged.attention, grid)
            )
        reconstruction, masks = self.decoder(merged.slots, merged.active, relative)
        shares = torch.zeros_like(bound.shares[:, centre])
        shares = shares.scatter_add(
            1, merged.assignment[..., None].expand_as(shares), bound.shares[:, centre].to(shares)
        )
        return Found(reconstruction, masks, merged, shares)

    def _grid_rows(self, kept: Tensor) -> Tensor:
        """The token positions by which the decoder's coordinates are found, (B, N').

        They are the centre frame's. The released code took flat frame i for sample i (`relgrid_index_bug`).
        """
        if self.method.relgrid_index_bug:
            return kept.flatten(0, 1)[: len(kept)]
        return kept[:, self.method.frames // 2]

    def _merge(self, slots: Tensor, attention: Tensor, skip: Tensor | None) -> Merged:
        if not self.method.merge:
            skip = torch.ones(len(slots), dtype=torch.bool)
        groups = assign(slots, self.method.merge_threshold, self.method.min_clusters, skip)
        return merge(slots, attention, groups)

    def _skipped(self, batch: int, progress: Progress, draws: torch.Generator) -> Tensor:
        """Samples that are not merged in this step, with probability ``1 - ln(e+1) / ln(E)``."""
        chance = 0.0
        if progress.epochs > 1:
            chance = 1 - math.log(progress.epoch + 1) / math.log(progress.epochs)
        return torch.rand(batch, generator=draws) < chance

    def _target(self, tokens: Tensor) -> Tensor:
        """What is reconstructed of a centre frame's features (B, N, D)."""
        if self.centring is not None:
            tokens = self.centring(tokens)
        tokens = tokens[..., : self.target_width]
        if self.method.target_norm:
            tokens = nn.functional.layer_norm(tokens, tokens.shape[-1:])
        return tokens

    def _dropped(self, batch: Batch, draws: torch.Generator) -> tuple[Tensor, Tensor | None]:
        """The tokens that are grouped, and their positions."""
        method = self.method
        tokens = batch.features["base", method.facet]
        if method.token_drop == "none" or (method.drop_ratio == 0 and method.token_drop != "premasked"):
            return tokens, None
        if method.token_drop == "premasked":
            return pick_version(batch.features, method.versions, method.facet, draws)
        kept = choose_kept(tokens.shape[:3], method.drop_ratio, draws).to(tokens.device)
        if method.token_drop == "after_encoder":
            return gather_tokens(tokens, kept), kept
        return self._encoded(batch.features["base", "pixels"], kept), kept

    def _encoded(self, pixels: Tensor, kept: Tensor) -> Tensor:
        if self.encoder is None:
            raise SettingsError(
                "solv.token_drop=online needs a backbone that can encode a part of a frame's tokens "
                "(a ViT with backbone.facets=[tokens,pixels])"
            )
        with torch.no_grad():
            return self.encoder(pixels.flatten(0, 1), kept.flatten(0, 1)).unflatten(0, kept.shape[:2])
