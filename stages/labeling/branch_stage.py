"""The branch stage: patch-CLIP adapted on cached tokens of its own tower. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from stages.artifacts.place import Place
from stages.discovery.train_stage import TrainStage
from stages.errors import SettingsError
from stages.features.store.reader import FeatureStore
from stages.labeling.branch_method import PatchClipMethod
from stages.stage import WorkContext


@dataclass(frozen=True)
class BranchStage(TrainStage):
    """Features of ``backbone.name=clip`` in, a branch for ``label.branch`` out.

    Writes what `TrainStage` does (the weights are ``branch.safetensors``), and ``branch.json``: which tower
    it belongs to.
    """

    kind: ClassVar[str] = "branch"

    method: PatchClipMethod = field(default_factory=PatchClipMethod)

    def make(self, inputs: Sequence[Place], folder: Path, context: WorkContext) -> None:
        """See `WholeStage.make`. Several processes may call it together.

        Raises:
            SettingsError: a batch would hold an image twice; see `train_method` for others.
        """
        frames = int(FeatureStore(context.inputs["features"]).counts().sum())
        if 0 < frames < self.train.batch:
            raise SettingsError(
                f"train.batch={self.train.batch}: there are only {frames} images, and an image is told from "
                "the others of its batch; lower it, or give more data"
            )
        import torch.distributed as dist

        from stages.discovery.training import train_method
        from stages.labeling.branch_files import describe_branch
        from stages.labeling.branch_training import PatchClipImplementation

        train_method(self, folder, context)
        if not dist.is_initialized() or dist.get_rank() == 0:
            tower = PatchClipImplementation(self.method).tower
            clip = self.method.clip
            describe_branch(folder, tower, {"model": clip.model, "clip": clip.identity()})
