"""The broadcast decoder over the frames of a clip (VOL, methods sheet 1.2.4)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from stages.discovery.blocks.decoder import BroadcastDecoder


class SpaceTimeDecoder(BroadcastDecoder):
    """A slot paints all positions of all T frames of its clip.

    Position codes are learned for a square grid and resized for others, so one decoder serves every grid.

    Args:
        slot_width: d.
        width: D of the features.
        frames: T.
        hidden: widths of the layers between.
        native: rows and columns of the grid that codes are learned for.
    """

    def __init__(
        self, slot_width: int, width: int, frames: int, hidden: Sequence[int], native: int = 14
    ) -> None:
        super().__init__(slot_width, width, native * native, hidden)
        self.native = native
        self.position_embedding = nn.Parameter(torch.randn(frames, native * native, slot_width) * 0.02)

    def positions(self, rows: int, columns: int) -> Tensor:
        """Codes (T * rows * columns, d), time first, then row-major: bicubic in every frame alone."""
        codes: Tensor = self.position_embedding
        if (rows, columns) != (self.native, self.native):
            pictures = codes.mT.unflatten(2, (self.native, self.native))
            codes = functional.interpolate(pictures, (rows, columns), mode="bicubic").flatten(2).mT
        return codes.flatten(0, 1)
