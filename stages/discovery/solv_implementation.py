"""SOLV put to work: optimiser, schedule, and segmentation of whole videos (methods sheet 2.4 and 2.5)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from stages.discovery.blocks.start import slower_encoder
from stages.discovery.contract import FeatureShape, Segmentation, VideoFeatures
from stages.discovery.solv import SolvMethod
from stages.discovery.solv_model import SolvModel
from stages.learning.schedules import warmup_exponential
from stages.merging.linking import link

_FRAMES_AT_ONCE = 16


class Solv:
    """See `stages.discovery.contract.Implementation`.

    Args:
        method: the options.
    """

    def __init__(self, method: SolvMethod) -> None:
        self.method = method

    def model(self, fit: str, shape: FeatureShape, done: Mapping[str, nn.Module]) -> SolvModel:
        """A fresh model."""
        return SolvModel(self.method, shape)

    def optimiser(self, fit: str, model: nn.Module, rate: float) -> torch.optim.Optimizer:
        """Adam without weight decay."""
        assert isinstance(model, SolvModel)
        return torch.optim.Adam(slower_encoder(model, model.decoder, rate, self.method.encoder_rate))

    def schedule(self, fit: str, step: int, steps: int) -> float:
        """Linear warm-up, then exponential decay."""
        return warmup_exponential(step, steps)

    def segment(self, models: Mapping[str, nn.Module], video: VideoFeatures) -> Segmentation:
        """Slide the window over all frames, then link. Frames are bound once, windows share them."""
        model = models["solv"]
        assert isinstance(model, SolvModel)
        masks, attention, active, slots = [], [], [], []
        for found_masks, weights, merged_active, merged_slots in self._centres(model, video):
            masks.append(found_masks)
            attention.append(weights)
            active.append(merged_active)
            slots.append(merged_slots)
        alive = torch.cat(active)
        vectors = torch.cat(slots)
        shape = (len(alive), alive.shape[1], video.shape.rows, video.shape.columns)
        kinds = {"decoder": torch.cat(masks).view(shape), "attention": torch.cat(attention).view(shape)}
        ordered = {kind: kinds[kind] for kind in self.method.mask_kinds}
        return Segmentation(ordered, alive, self._identity(vectors, alive), vectors)

    def _centres(
        self, model: SolvModel, video: VideoFeatures
    ) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
        """Masks, attention over slots, activity and slots of a few centre frames at a time, on the CPU."""
        side = self.method.frames // 2
        for start in range(0, video.frames, _FRAMES_AT_ONCE):
            stop = min(start + _FRAMES_AT_ONCE, video.frames)
            first, last = max(start - side, 0), min(stop + side, video.frames)
            bound = model.bind(video.read(first, last, self.method.facet)[None])
            wanted = torch.arange(start, stop)[:, None] + torch.arange(-side, side + 1)
            available = (wanted >= 0) & (wanted < video.frames)
            rows = wanted.clamp(first, last - 1) - first
            found = model.decode(bound.windows(rows), available.to(bound.slots.device))
            yield (
                found.masks.cpu(),
                found.shares.cpu(),
                found.merged.active.cpu(),
                found.merged.slots.cpu(),
            )

    def _identity(self, slots: Tensor, active: Tensor) -> Tensor:
        """The tube of every slot, int64 (T, K); -1 where inactive."""
        numbers = torch.arange(active.shape[1]).expand(active.shape)
        if not (self.method.merge or self.method.always_match):
            return torch.where(active, numbers, -1)
        labels = link([frame[alive].numpy() for frame, alive in zip(slots, active, strict=True)])
        identity = torch.full(active.shape, -1)
        for row, alive, found in zip(identity, active, labels, strict=True):
            row[alive] = torch.from_numpy(found)
        return identity
