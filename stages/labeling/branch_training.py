"""Training of the patch branch on cached tokens, for the one training loop (methods sheet 1.3 and 1.4)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from stages.discovery.contract import Batch, FeatureShape, Progress, Segmentation, VideoFeatures
from stages.errors import SettingsError
from stages.labeling.clip_model import load_clip
from stages.labeling.clip_patches import PatchTower
from stages.labeling.patch_branch import PatchBranch, contrast, optimiser, rate_factor

if TYPE_CHECKING:
    from stages.labeling.branch_method import PatchClipMethod


class BranchTraining(PatchBranch):
    """A branch that can be trained: a `stages.discovery.contract.Trainable` with the same weights."""

    def __init__(self, width: int, heads: int, embedding: int) -> None:
        super().__init__(width, heads, embedding)
        self.view = ""
        """The view under which a batch has its features."""

    def training_step(self, batch: Batch, progress: Progress, draws: torch.Generator) -> dict[str, Tensor]:
        """``loss`` and ``right`` of `contrast`."""
        patches, first, image = (
            batch.features[self.view, facet][:, 0]
            for facet in ("penultimate", "penultimate_cls", "embedding")
        )
        found = contrast(self(torch.cat([first[:, None], patches], dim=1)), image)
        return {"loss": found.loss, "right": found.right}

    def after_step(self, progress: Progress) -> None:
        """Nothing."""


class PatchClipImplementation:
    """See `stages.discovery.contract.Implementation`. It segments nothing."""

    def __init__(self, method: PatchClipMethod) -> None:
        self.method = method

    @cached_property
    def tower(self) -> PatchTower:
        """The frozen image tower, on the CPU."""
        return PatchTower(load_clip(self.method.clip).visual, self.method.clip.model)

    def model(self, fit: str, shape: FeatureShape, done: Mapping[str, nn.Module]) -> BranchTraining:
        """A fresh branch with the sizes of the tower."""
        branch = BranchTraining(self.tower.width, self.tower.heads, self.tower.embedding)
        (branch.view,) = self.method.views
        return branch

    def optimiser(self, fit: str, model: nn.Module, rate: float) -> torch.optim.Optimizer:
        """SGD as published."""
        return optimiser(model, rate)

    def schedule(self, fit: str, step: int, steps: int) -> float:
        """As published, from the published peak: what matters is the factor."""
        return rate_factor(step, steps)

    def segment(self, models: Mapping[str, nn.Module], video: VideoFeatures) -> Segmentation:
        """Refuses."""
        raise SettingsError("patch_clip is no method that finds objects: it adapts CLIP for naming them")
