"""Toy videos and small SOLV models."""

from __future__ import annotations

import torch

from stages.discovery.contract import FeatureShape
from stages.discovery.solv import SolvMethod
from stages.discovery.solv_model import SolvModel

SMALL = {
    "slots": 4,
    "slot_width": 8,
    "frames": 3,
    "temporal_layers": 1,
    "temporal_heads": 2,
    "hidden": 16,
    "decoder": (12, 12),
    "min_clusters": 1,
}
SHAPE = FeatureShape(3, 4, 6)


class ToyVideo:
    """A `stages.discovery.contract.VideoFeatures` in memory; ``reads`` lists what was asked for."""

    def __init__(
        self,
        tokens: torch.Tensor,
        rows: int = SHAPE.rows,
        columns: int = SHAPE.columns,
        facet: str = "tokens",
    ) -> None:
        self.video, self.frames = "toy", len(tokens)
        self.shape = FeatureShape(rows, columns, tokens.shape[-1])
        self.reads: list[tuple[int, int]] = []
        self._tokens, self._facet = tokens, facet

    def read(self, start=0, stop=None, facet="tokens", view="base"):
        assert facet == self._facet and view == "base"
        stop = self.frames if stop is None else stop
        assert 0 <= start < stop <= self.frames
        self.reads.append((start, stop))
        return self._tokens[start:stop].clone()


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def small(seed: int = 0, shape: FeatureShape = SHAPE, **options: object) -> SolvModel:
    """A model in eval mode with weights that are always the same."""
    torch.manual_seed(seed)
    return SolvModel(SolvMethod(**{**SMALL, **options}), shape).eval()
