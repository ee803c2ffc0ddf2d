"""VOL's grouping model (methods sheet 1.2.3 and 1.2.4): projection, slot attention over the tokens of a whole
clip, and a broadcast decoder.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from stages.discovery.blocks.mlp import InputProjection
from stages.discovery.blocks.slot_attention import SlotAttention
from stages.discovery.blocks.space_time import SpaceTimeDecoder
from stages.discovery.clips import Grouped
from stages.discovery.contract import Batch, FeatureShape, Progress
from stages.discovery.vol import VolMethod


class VolModel(nn.Module):
    """A `stages.discovery.contract.Trainable`.

    Args:
        method: the options.
        shape: of the features; only their width matters.
    """

    def __init__(self, method: VolMethod, shape: FeatureShape) -> None:
        super().__init__()
        self.method, self.shape = method, shape
        self.frames = method.frames if method.joint else 1
        width = method.slot_width
        self.input_projection = InputProjection(shape.width, width, norm_out=False)
        self.slot_attention = SlotAttention(width, method.slots, method.iterations, method.hidden)
        self.decoder = SpaceTimeDecoder(width, shape.width, self.frames, method.decoder, method.position_grid)
        without_biases(self)

    def training_step(self, batch: Batch, progress: Progress, draws: torch.Generator) -> dict[str, Tensor]:
        """The reconstruction loss: mean squared error over batch, tokens and channels (sheet 1.3)."""
        tokens = clips_of(batch.features["base", self.method.facet], self.frames)
        found = self(tokens, (batch.shape.rows, batch.shape.columns), draws=draws)
        return losses(found, tokens)

    def after_step(self, progress: Progress) -> None:
        """Nothing: there is no teacher."""

    def forward(
        self,
        tokens: Tensor,
        grid: tuple[int, int],
        noise: Tensor | None = None,
        draws: torch.Generator | None = None,
    ) -> Grouped:
        """Group and reconstruct clips.

        Args:
            tokens: (B, T, N, D), of ``method.frames`` frames with ``joint``, else of one.
            grid: rows and columns of the N patches.
            noise: standard normal (B, K, d), from which slots start; drawn by default.
            draws: of that noise, a CPU generator.
        """
        projected = self.input_projection(tokens.flatten(1, 2))
        start = None if noise is None else self.slot_attention.initial.place(noise)
        slots, shares, _ = self.slot_attention(projected, draws, start)
        active = torch.ones(slots.shape[:2], dtype=torch.bool, device=slots.device)
        painted, masks = self.decoder(slots, active, positions=self.decoder.positions(*grid))
        by_frame = (self.frames, tokens.shape[2])
        return Grouped(
            slots,
            shares.unflatten(2, by_frame).transpose(1, 2),
            masks.unflatten(2, by_frame).transpose(1, 2),
            painted.unflatten(1, by_frame),
        )


def clips_of(tokens: Tensor, frames: int) -> Tensor:
    """Tokens (B, T, N, D) cut into clips of ``frames`` frames, which divide T."""
    return tokens.unflatten(1, (-1, frames)).flatten(0, 1)


def losses(found: Grouped, tokens: Tensor) -> dict[str, Tensor]:
    """The mean squared error, and how many slots of a clip win a patch, in the mean."""
    winner = found.masks.detach().argmax(dim=2).flatten(1)
    winning = nn.functional.one_hot(winner, found.masks.shape[2]).any(dim=1).sum(dim=1)
    return {"loss": (found.reconstruction - tokens).square().mean(), "slots": winning.float().mean()}


def without_biases(model: nn.Module) -> None:
    """Biases of linear layers start at 0, as in the published models (their weights are torch's)."""
    for layer in model.modules():
        if isinstance(layer, nn.Linear) and layer.bias is not None:
            nn.init.zeros_(layer.bias)
