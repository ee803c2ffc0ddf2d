"""What a method is: a declaration that plans can read, and an implementation that works on tensors.

How the published methods fit, without special cases:

* **SOLV**: one fit on `Windows` of 5 frames around every frame; merging inside `training_step`, which gets
  its epoch from `Progress`. `segment` slides over the video, links the slots of neighbouring frames and
  returns per-frame slot counts through `Segmentation.active`.
* **VOL**: one fit on `RandomClip` of 8 frames. `segment` cuts the video into clips; one slot covers all
  frames of a clip, so `identity` is constant along time and `slots` repeats. Naming is a later stage and
  reads slot vectors.
* **BA**: one fit of one attention block; `segment` takes all frames of the video at once and clusters
  tokens, so `slots` is None and ``masks`` are 0 or 1.
* **SMTC**: one fit on pairs of views of 4 frames (``views`` names two; `Batch.features` has both); the
  teacher is a submodule without gradients that `after_step` moves. Masks of semantics x instances may
  overlap: `Segmentation.overlapping`.
* **Interpreter**: two fits, ``level1`` and ``level2``; the second is built on the first, frozen
  (`Implementation.model` gets the models that are done). Both read whole videos (`WholeVideo`).
* **Training-free clustering** (k-means, spectral): no fit at all; `segment` works on the features alone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from stages.errors import SettingsError
from stages.stage import canonical

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from stages.features.backbone_spec import BackboneSpec
    from stages.features.store.samplers import Pattern
    from stages.features.views import ViewsSpec

MaskKind = str
"""``decoder``, ``attention`` or ``cluster``: where in the model a mask comes from."""


@dataclass(frozen=True)
class FeatureShape:
    """The features that a model is built for: ``rows`` x ``columns`` patch tokens of ``width`` channels."""

    rows: int
    columns: int
    width: int

    @property
    def tokens(self) -> int:
        """Patch tokens of a frame."""
        return self.rows * self.columns


@dataclass(frozen=True)
class Progress:
    """How far a training has come. ``step`` and ``epoch`` count from 0, ``steps`` and ``epochs`` are
    totals.
    """

    step: int
    steps: int
    epoch: int
    epochs: int


@dataclass(frozen=True)
class Batch:
    """Clips of cached features.

    Attributes:
        features: of every requested ``(view, facet)``, float32 (B, T, N, D); frames outside of the video are
        zero.
        available: bool (B, T), False where a clip leaves its video.
        shape: the grid and width of ``("base", "tokens")``; see `Method.any_grid`.
        videos: ids of the B videos.
    """

    features: Mapping[tuple[str, str], Tensor]
    available: Tensor
    shape: FeatureShape
    videos: tuple[str, ...] = ()

    @property
    def tokens(self) -> Tensor:
        """The patch tokens of the plain view, (B, T, N, D)."""
        return self.features["base", "tokens"]


class VideoFeatures(Protocol):
    """The features of one whole video, read when asked for."""

    video: str
    frames: int
    shape: FeatureShape

    def read(
        self, start: int = 0, stop: int | None = None, facet: str = "tokens", view: str = "base"
    ) -> Tensor:
        """Frames ``start`` to ``stop`` (positions among the stored frames), float32 (T, N, D)."""


@dataclass(frozen=True)
class Segmentation:
    """What a method found in a video of T frames with at most K slots a frame, on a grid of h x w patches.

    Attributes:
        masks: by `MaskKind`, float32 (T, K, h, w) in [0, 1]; rows of inactive slots are zero. The first kind
            is the method's published one.
        active: bool (T, K), which slots exist in a frame.
        identity: int64 (T, K), the tube that a slot belongs to, from 0; -1 where inactive. Several slots of a
            frame may belong to one tube.
        slots: float32 (T, K, d) slot vectors, or None where the method has none.
        overlapping: masks are kept where they exceed 0.5 instead of competing for a pixel.
    """

    masks: Mapping[MaskKind, Tensor]
    active: Tensor
    identity: Tensor
    slots: Tensor | None = None
    overlapping: bool = False


class Trainable(Protocol):
    """A model that can be trained: a `torch.nn.Module` with a step."""

    def training_step(self, batch: Batch, progress: Progress, draws: torch.Generator) -> dict[str, Tensor]:
        """Losses by name, scalars; ``loss`` is what is minimised.

        Every random choice other than dropout comes from ``draws`` (a CPU generator).
        """

    def after_step(self, progress: Progress) -> None:
        """Called after every optimiser step: the place for an EMA teacher."""


class Implementation(Protocol):
    """The half of a method that imports torch."""

    def model(self, fit: str, shape: FeatureShape, done: Mapping[str, torch.nn.Module]) -> torch.nn.Module:
        """A fresh model (a `Trainable`) of the fit called ``fit``; ``done`` holds the fits before it,
        trained.
        """

    def optimiser(self, fit: str, model: torch.nn.Module, rate: float) -> torch.optim.Optimizer:
        """The fit's optimiser at peak learning rate ``rate``."""

    def schedule(self, fit: str, step: int, steps: int) -> float:
        """The factor on the peak learning rate for optimisation step ``step`` (from 0) of ``steps``."""

    def segment(self, models: Mapping[str, torch.nn.Module], video: VideoFeatures) -> Segmentation:
        """Segment and link one video. Models are in eval mode, on their device; no gradients are recorded."""


@dataclass(frozen=True)
class Method(ABC):
    """The declaration: a frozen dataclass whose fields are the method's options. Imports no torch."""

    name: ClassVar[str]
    """As in ``method.name``."""
    protocol: ClassVar[str]
    """The protocol that its paper reports, e.g. ``miou@solv``."""
    version: ClassVar[int] = 1
    """Raised whenever the same options start to give something else."""

    after_training: ClassVar[frozenset[str]] = frozenset()
    """Options that matter only to `Implementation.segment`: changing one keeps the trained model."""

    added: ClassVar[frozenset[str]] = frozenset()
    """Options that came later: at their defaults they enter no identity, so that earlier models keep
    theirs.
    """

    def identity(self, training: bool = False) -> dict[str, Any]:
        """What enters fingerprints; with ``training`` only what decides the trained model."""
        defaults = {f.name: f.default for f in fields(self) if f.name in self.added}
        options = {
            name: value
            for name, value in canonical(self).items()
            if name not in defaults or getattr(self, name) != defaults[name]
        }
        if training:
            options = {key: value for key, value in options.items() if key not in self.after_training}
        return {"method": self.name, "version": self.version, "options": options}

    @property
    def facets(self) -> tuple[str, ...]:
        """The facets it reads."""
        return ("tokens",)

    @property
    def views(self) -> tuple[str, ...]:
        """The views it reads in training."""
        return ("base",)

    @property
    def streams(self) -> tuple[tuple[str, str], ...]:
        """The ``(view, facet)`` pairs that a training reads; by default every facet of every view."""
        return tuple((view, facet) for view in self.views for facet in self.facets)

    @property
    def any_grid(self) -> bool:
        """Whether its models take any grid of patches. If so, videos of different grids are trained on
        together: every batch has one grid, its ``shape``, and `Implementation.model` gets that of
        the first video.
        """
        return False

    @property
    def wants_encoder(self) -> bool:
        """Whether a training runs the frozen backbone itself: its models get an attribute ``encoder``, see
        `stages.features.backbones.online`.
        """
        return False

    def check(self, backbone: BackboneSpec, views: ViewsSpec) -> None:
        """Refuse features of ``backbone`` that it can't be trained on.

        Raises:
            SettingsError: a view is missing; says what to set.
        """
        missing = [view for view in self.views if view not in views.names()]
        if missing:
            raise SettingsError(
                f"method {self.name} reads the views {', '.join(missing)}, which the features don't have: "
                "set the section views accordingly"
            )

    @property
    def mask_kinds(self) -> tuple[MaskKind, ...]:
        """The kinds of masks that `Implementation.segment` gives, the published one first."""
        return ("decoder",)

    @property
    def clip_frames(self) -> int:
        """Frames, counted from a video's first, that share their slots: a slot of a clip belongs to all of
        its frames, to those too in which it has no pixel.
        """
        return 1

    def knowing(self, objects: int) -> Method:
        """The method as scoring runs it as a trivial row, where the true number of objects is at hand; by
        default unchanged.
        """
        return self

    @abstractmethod
    def fits(self) -> tuple[str, ...]:
        """Names of its trainings, in order; none for a training-free method."""

    @abstractmethod
    def clips(self, fit: str) -> Pattern:
        """How the clips of a training are cut."""

    @abstractmethod
    def implement(self) -> Implementation:
        """The implementation; imports torch."""
