"""The model stage: all trainings of a method, one after the other, on cached features. Imports no torch."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from stages.artifacts.place import Place
from stages.discovery.contract import Method
from stages.features.backbone_spec import BackboneSpec
from stages.learning.spec import TrainSpec
from stages.stage import FitStage, WorkContext


@dataclass(frozen=True)
class TrainStage(FitStage):
    """Features in, a trained method out.

    Writes ``<fit>.safetensors`` per fit, ``model.json``, ``history.parquet`` (``fit, step, name, value``) and
    the TensorBoard logs.

    Attributes:
        method: what is trained.
        train: how long.
        backbone: of the features, for methods that run it in training; the features' fingerprint covers it.
        videos: train on a sample of so many videos (`stages.discovery.sample`); 0: on all.
    """

    kind: ClassVar[str] = "model"

    method: Method
    train: TrainSpec = field(default_factory=TrainSpec)
    backbone: BackboneSpec | None = None
    videos: int = 0

    @property
    def name(self) -> str:
        """The method's name."""
        return re.sub(r"[^a-z0-9_.-]+", "-", self.method.name)

    def identity(self) -> dict[str, Any]:
        """As `Stage.identity`, without options of the method that matter only after training."""
        identity = super().identity()
        fields = {"method": self.method.identity(training=True), "train": identity["fields"]["train"]}
        fields |= {"videos": self.videos} if self.videos else {}
        return {**identity, "fields": fields}

    @property
    def reads_shards(self) -> tuple[str, ...]:
        """See `Stage.reads_shards`."""
        return ("features",)

    @property
    def sample(self) -> int:
        """See `FitStage.sample`."""
        return self.videos

    def make(self, inputs: Sequence[Place], folder: Path, context: WorkContext) -> None:
        """See `WholeStage.make`. Several processes may call it together, joined by `torch.distributed`."""
        from stages.discovery.training import train_method

        train_method(self, folder, context)
