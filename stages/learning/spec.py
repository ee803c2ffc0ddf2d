"""The config section ``train``: what decides a trained model, beside its method. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from stages.errors import SettingsError


@dataclass(frozen=True)
class TrainSpec:
    """How long and how fast a model is trained.

    Raises:
        SettingsError: for a value that can't be.
    """

    epochs: int = 20
    """Passes over all clips."""
    steps: int | None = None
    """Optimisation steps; epochs follow from them then."""
    batch: int = 16
    """Clips per step, over all workers together."""
    rate: float = 4e-4
    """Peak learning rate."""
    clip: float = 1.0
    """Largest norm of the gradient; larger ones are scaled down."""
    seed: int = 0
    """Of the initial weights, the order of clips and every random choice."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """auto is bf16 autocast on a GPU and fp32 on a CPU."""
    hold_out: float = 0.0
    """Share of the videos that is kept for validation."""
    validate_every: int = 0
    """Steps between two validations; 0: only at the end."""
    exclude_annotated: bool = False
    """Leave the videos with ground truth out of training (SOLV's exclude_eval)."""

    def __post_init__(self) -> None:
        for name in ("epochs", "batch"):
            if getattr(self, name) < 1:
                raise SettingsError(f"train.{name}={getattr(self, name)}: must be at least 1")
        if self.steps is not None and self.steps < 1:
            raise SettingsError(f"train.steps={self.steps}: must be at least 1")
        if self.rate <= 0 or self.clip <= 0:
            raise SettingsError(f"train.rate={self.rate}, train.clip={self.clip}: both must be above 0")
        if not 0 <= self.hold_out < 1:
            raise SettingsError(f"train.hold_out={self.hold_out}: must be at least 0 and below 1")
