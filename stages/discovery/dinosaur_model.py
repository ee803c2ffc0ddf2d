"""DINOSAUR's model (methods sheet 6.1): projection, slot attention over a frame's tokens, and one of two
decoders.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from stages.discovery.blocks.autoregressive import AutoregressiveDecoder
from stages.discovery.blocks.decoder import BroadcastDecoder
from stages.discovery.blocks.mlp import InputProjection
from stages.discovery.blocks.slot_attention import SlotAttention
from stages.discovery.clips import Grouped
from stages.discovery.contract import Batch, FeatureShape, Progress
from stages.discovery.dinosaur import DinosaurMethod
from stages.discovery.vol_model import clips_of, losses, without_biases
from stages.errors import SettingsError


class DinosaurModel(nn.Module):
    """A `stages.discovery.contract.Trainable`.

    Args:
        method: the options.
        shape: of the features.

    Raises:
        SettingsError: the autoregressive decoder's heads can't share the channels of the features.
    """

    def __init__(self, method: DinosaurMethod, shape: FeatureShape) -> None:
        super().__init__()
        self.method, self.shape = method, shape
        width = method.slot_width
        self.input_projection = InputProjection(shape.width, width, norm_out=False)
        self.slot_attention = SlotAttention(width, method.slots, method.iterations, method.hidden)
        self.decoder: AutoregressiveDecoder | BroadcastDecoder
        if method.autoregressive:
            if shape.width % method.heads:
                raise SettingsError(
                    f"dinosaur.heads={method.heads}: the {shape.width} channels of the features "
                    f"{method.facet} can't be shared by them"
                )
            self.decoder = AutoregressiveDecoder(width, shape.width, method.layers, method.heads)
            without_biases(self.input_projection)
            without_biases(self.slot_attention)
        else:
            self.decoder = BroadcastDecoder(width, shape.width, shape.tokens, method.decoder)
            without_biases(self)

    def training_step(self, batch: Batch, progress: Progress, draws: torch.Generator) -> dict[str, Tensor]:
        """The reconstruction loss: mean squared error over batch, tokens and channels."""
        tokens = clips_of(batch.features["base", self.method.facet], 1)
        return losses(self(tokens, draws=draws), tokens)

    def after_step(self, progress: Progress) -> None:
        """Nothing: there is no teacher."""

    def forward(
        self, tokens: Tensor, noise: Tensor | None = None, draws: torch.Generator | None = None
    ) -> Grouped:
        """Group and reconstruct frames.

        Args:
            tokens: (B, 1, N, D).
            noise: standard normal (B, K, d), from which slots start; drawn by default.
            draws: of that noise, a CPU generator.
        """
        features = tokens[:, 0]
        start = None if noise is None else self.slot_attention.initial.place(noise)
        slots, shares, _ = self.slot_attention(self.input_projection(features), draws, start)
        if isinstance(self.decoder, AutoregressiveDecoder):
            painted, masks = self.decoder(slots, features)
        else:
            active = torch.ones(slots.shape[:2], dtype=torch.bool, device=slots.device)
            painted, masks = self.decoder(slots, active)
        return Grouped(slots, shares[:, None], masks[:, None], painted[:, None])
