"""VOL's grouping model (methods sheet 1.2.3 and 1.2.4): projection, slot attention over the tokens of a whole
clip, and a broadcast decoder.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from stages.discovery.blocks import grid as grids
from stages.discovery.blocks import start
from stages.discovery.blocks.centring import Centring
from stages.discovery.blocks.mlp import InputProjection
from stages.discovery.blocks.slot_attention import SlotAttention
from stages.discovery.blocks.space_time import SpaceTimeDecoder
from stages.discovery.clips import Grouped
from stages.discovery.contract import Batch, FeatureShape, Progress
from stages.discovery.vol import VolMethod
from stages.errors import SettingsError
from stages.features.backbones.online import ClipEncoder


class VolModel(nn.Module):
    """A `stages.discovery.contract.Trainable`.

    Args:
        method: the options.
        shape: of the features; only their width matters.
    """

    def __init__(self, method: VolMethod, shape: FeatureShape) -> None:
        super().__init__()
        self.method, self.shape = method, shape
        self.encoder: ClipEncoder | None = None
        self.frames = method.frames if method.joint else 1
        width = method.slot_width
        self.centring = Centring(shape.width) if method.centre_features else None
        self.input_projection = InputProjection(
            shape.width, width, norm_out=False, hidden=method.projection, norm_in=method.input_norm
        )
        self.slot_attention = SlotAttention(width, method.slots, method.iterations, method.hidden)
        self.target_width = method.target_channels or shape.width
        if self.target_width > shape.width:
            raise SettingsError(
                f"vol.target_channels={method.target_channels}: "
                f"the features {method.facet} have {shape.width} channels"
            )
        grid = method.position_grid
        self.decoder = SpaceTimeDecoder(width, self.target_width, self.frames, method.decoder, grid)
        without_biases(self)
        if method.start == "clustering":
            start.keep_scale(self)
            start.cluster(self.slot_attention)
            start.paint_quietly(self.decoder, grids.coordinates(grid, grid))

    def training_step(self, batch: Batch, progress: Progress, draws: torch.Generator) -> dict[str, Tensor]:
        """The reconstruction loss: mean squared error over batch, tokens and channels (sheet 1.3)."""
        tokens = self._tokens(batch)
        if self.centring is not None:
            self.centring.learn(tokens, batch.available)
        tokens = clips_of(tokens, self.frames)
        found = self(tokens, (batch.shape.rows, batch.shape.columns), draws=draws)
        return losses(found, self._centred(tokens)[..., : self.target_width])

    def _tokens(self, batch: Batch) -> Tensor:
        """The features of the batch's clips, (B, T, N, D): as stored, or encoded now.

        Raises:
            SettingsError: they are to be encoded, and no encoder is there.
        """
        (stream,) = self.method.streams
        found = batch.features[stream]
        if not self.method.wants_encoder:
            return found
        if self.encoder is None:
            raise SettingsError("vol.clips_from=online needs the backbone in training, and none is given")
        side = math.isqrt(found.shape[2] // batch.shape.tokens)  # of a patch
        size = (batch.shape.rows * side, batch.shape.columns * side)
        return self.encoder(found.unflatten(2, size))

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
        projected = self.input_projection(self._centred(tokens).flatten(1, 2))
        placed = None if noise is None else self.slot_attention.initial.place(noise)
        slots, shares, _ = self.slot_attention(projected, draws, placed)
        active = torch.ones(slots.shape[:2], dtype=torch.bool, device=slots.device)
        painted, masks = self.decoder(slots, active, positions=self.decoder.positions(*grid))
        by_frame = (self.frames, tokens.shape[2])
        return Grouped(
            slots,
            shares.unflatten(2, by_frame).transpose(1, 2),
            masks.unflatten(2, by_frame).transpose(1, 2),
            painted.unflatten(1, by_frame),
        )

    def _centred(self, tokens: Tensor) -> Tensor:
        return tokens if self.centring is None else self.centring(tokens)


def clips_of(tokens: Tensor, frames: int) -> Tensor:
    """Tokens (B, T, N, D) cut into clips of ``frames`` frames, which divide T."""
    return tokens.unflatten(1, (-1, frames)).flatten(0, 1)


def losses(found: Grouped, target: Tensor) -> dict[str, Tensor]:
    """The mean squared error of the reconstruction of ``target`` (B, T, N, D), and how many slots of a clip
    win a patch, in the mean.
    """
    winner = found.masks.detach().argmax(dim=2).flatten(1)
    winning = nn.functional.one_hot(winner, found.masks.shape[2]).any(dim=1).sum(dim=1)
    return {"loss": (found.reconstruction - target).square().mean(), "slots": winning.float().mean()}


def without_biases(model: nn.Module) -> None:
    """Biases of linear layers start at 0, as in the published models (their weights are torch's)."""
    for layer in model.modules():
        if isinstance(layer, nn.Linear) and layer.bias is not None:
            nn.init.zeros_(layer.bias)
