"""VOL's grouping put to work: optimiser, schedule, and segmentation clip by clip (methods sheet 1.4, 1.5)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from stages.discovery.blocks.start import slower_encoder
from stages.discovery.clips import Cutting, Grouped, segment_clips
from stages.discovery.contract import FeatureShape, Segmentation, VideoFeatures
from stages.discovery.vol import VolMethod
from stages.discovery.vol_model import VolModel
from stages.learning.schedules import warmup_halving


class Vol:
    """See `stages.discovery.contract.Implementation`.

    Args:
        method: the options.
    """

    def __init__(self, method: VolMethod) -> None:
        self.method = method

    def model(self, fit: str, shape: FeatureShape, done: Mapping[str, nn.Module]) -> VolModel:
        """A fresh model."""
        return VolModel(self.method, shape)

    def optimiser(self, fit: str, model: nn.Module, rate: float) -> torch.optim.Optimizer:
        """Adam without weight decay."""
        assert isinstance(model, VolModel)
        return torch.optim.Adam(slower_encoder(model, model.decoder, rate, self.method.encoder_rate))

    def schedule(self, fit: str, step: int, steps: int) -> float:
        """Warm-up and halving at once, whatever the number of steps."""
        return warmup_halving(step, self.method.warmup, self.method.half_life)

    def segment(self, models: Mapping[str, nn.Module], video: VideoFeatures) -> Segmentation:
        """Runs of consecutive frames from the first frame on; all start from the same draw of slots."""
        model, method = models["vol"], self.method
        assert isinstance(model, VolModel)
        noise = one_draw(method.seed, method.slots, method.slot_width)

        def group(tokens: Tensor, grid: tuple[int, int]) -> Grouped:
            found: Grouped = model(tokens, grid, noise.expand(len(tokens), -1, -1))
            return found

        cutting = Cutting(
            method.frames, model.frames, method.strict_clips, method.link_threshold, method.mask_kinds
        )
        return segment_clips(group, video, method.facet, cutting)


def one_draw(seed: int, slots: int, width: int) -> Tensor:
    """Standard normal (1, K, d): the same for every clip, so that results depend on no neighbour."""
    return torch.randn(1, slots, width, generator=torch.Generator().manual_seed(seed))
