"""DINOSAUR put to work: optimiser, schedule, and segmentation frame by frame (methods sheet 6.1)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from stages.discovery.clips import Cutting, Grouped, segment_clips
from stages.discovery.contract import FeatureShape, Segmentation, VideoFeatures
from stages.discovery.dinosaur import DinosaurMethod
from stages.discovery.dinosaur_model import DinosaurModel
from stages.discovery.vol_implementation import one_draw
from stages.learning.schedules import warmup_halving

_FRAMES_AT_ONCE = 16


class Dinosaur:
    """See `stages.discovery.contract.Implementation`.

    Args:
        method: the options.
    """

    def __init__(self, method: DinosaurMethod) -> None:
        self.method = method

    def model(self, fit: str, shape: FeatureShape, done: Mapping[str, nn.Module]) -> DinosaurModel:
        """A fresh model."""
        return DinosaurModel(self.method, shape)

    def optimiser(self, fit: str, model: nn.Module, rate: float) -> torch.optim.Optimizer:
        """Adam without weight decay."""
        return torch.optim.Adam(model.parameters(), rate)

    def schedule(self, fit: str, step: int, steps: int) -> float:
        """Warm-up, then halving, whatever the number of steps."""
        warmup = self.method.warmup
        return warmup_halving(step, warmup, self.method.half_life, decay_from=warmup)

    def segment(self, models: Mapping[str, nn.Module], video: VideoFeatures) -> Segmentation:
        """Every frame alone; all start from the same draw of slots."""
        model, method = models["dinosaur"], self.method
        assert isinstance(model, DinosaurModel)
        noise = one_draw(method.seed, method.slots, method.slot_width)

        def group(tokens: Tensor, grid: tuple[int, int]) -> Grouped:
            found: Grouped = model(tokens, noise.expand(len(tokens), -1, -1))
            return found

        cutting = Cutting(_FRAMES_AT_ONCE, 1, False, method.link_threshold, method.mask_kinds)
        return segment_clips(group, video, method.facet, cutting)
