"""VOL's grouping: slots of whole clips, for open-vocabulary localisation in videos (methods sheet 1). The
declaration; imports no torch.

Rows of the paper's Table 2 are settings: ``backbone.name`` is an image or a video model, and ``vol.joint``
says whether slots are shared by the frames of a clip.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from stages.discovery.contract import Method
from stages.errors import SettingsError
from stages.features.backbones.table import frames_together

if TYPE_CHECKING:
    from stages.discovery.contract import Implementation
    from stages.features.backbone_spec import BackboneSpec
    from stages.features.store.samplers import Pattern
    from stages.features.views import ViewsSpec

ClipsFrom = Literal["base", "bank", "online"]


@dataclass(frozen=True)
class VolMethod(Method):
    """Reconstructs the features of a clip from slots that are drawn from one Gaussian.

    Tubes go on from clip to clip by one rule. Two slots of neighbouring clips are as alike as the mean of the
    cosine of their vectors and of the intersection over union of their masks in the two adjoining frames;
    they are paired one to one for the greatest total (Hungarian), and pairs of at least ``link_threshold``
    become one tube. All other slots begin a new one.

    Raises:
        SettingsError: for options that can't be.
    """

    name: ClassVar[str] = "vol"
    protocol: ClassVar[str] = "corloc@vol"
    after_training: ClassVar[frozenset[str]] = frozenset({"strict_clips", "link_threshold", "seed", "masks"})

    added: ClassVar[frozenset[str]] = frozenset({"clips_from"})

    facet: str = "tokens"
    """Which features are grouped and reconstructed."""
    slots: int = 15
    """Slots of a clip; of a frame with joint=false."""
    slot_width: int = 128
    """Channels of a slot."""
    frames: int = 8
    """Frames of a clip."""
    clips_from: ClipsFrom = "base"
    """What training clips are cut from, with a backbone that encodes the frames of a clip together: the bank
    of clips drawn beforehand (with views.clips; the strides are views.clip_strides then), or online, by the
    backbone itself in every step (with backbone.facets=[tokens,pixels]), as published. Other backbones:
    base.
    """
    joint: bool = True
    """Slots are shared by all frames of a clip; else every frame is grouped and decoded alone."""
    iterations: int = 3
    """Updates of slot attention."""
    hidden: int = 512
    """Width between the layers of the slots' MLP."""
    decoder: tuple[int, ...] = (1024, 1024, 1024)
    """Widths between the layers of the decoder; the paper's text says one, the released code has three."""
    position_grid: int = 14
    """Rows and columns of the grid for which the decoder learns position codes; resized for other grids."""
    strides: tuple[int, ...] = (1, 2, 4, 8)
    """Frames from one frame of a training clip to the next: one of these, drawn for every clip."""
    clips_per_video: int = 7
    """Training clips of a video in an epoch, one after the other; with a train.batch of as many per worker
    every batch is of one video, as published (the paper says 10)."""
    warmup: int = 5_000
    """Steps over which the learning rate rises from 0."""
    half_life: int = 50_000
    """Steps in which it halves, warm-up included."""
    start: Literal["published", "clustering"] = "published"
    """Initial weights: as published, or slot attention as a soft clustering of the tokens, which a decoder
    that hardly paints learns to read; ours, for short trainings of small models, which collapse otherwise."""
    encoder_rate: float = 1.0
    """Learning rate of everything but the decoder, as a share of train.rate."""
    input_norm: bool = True
    """LayerNorm on the features; off for features of a few channels, whose mean and length say something."""
    centre_features: bool = False
    """Subtract the training set's mean token from the features."""
    projection: int = 0
    """Width between the layers of the input projection; 0: that of the features."""
    target_channels: int = 0
    """Reconstruct only that many first channels of the features; 0: all."""
    masks: Literal["decoder", "attention"] = "decoder"
    """Which masks are the result: the decoder's alpha, or slot attention's own (ours)."""
    strict_clips: bool = False
    """The published rule: only clips that a frame follows are segmented, other frames have no slots. Else the
    last clip is filled up with its last frame, and no frame is lost."""
    link_threshold: float = 0.5
    """How alike slots of neighbouring clips have to be to become one tube, up to 1; 0 links nothing, as
    published."""
    seed: int = 287
    """Of the one draw of initial slots that all clips are segmented with."""

    def __post_init__(self) -> None:
        check_positive(
            self, "slots", "slot_width", "frames", "iterations", "hidden", "position_grid", "clips_per_video",
            "half_life",
        )  # fmt: skip
        if not self.strides or min(self.strides) < 1:
            raise SettingsError(f"vol.strides={list(self.strides)}: give one or more, each at least 1")
        for name in ("projection", "target_channels"):
            if getattr(self, name) < 0:
                raise SettingsError(f"vol.{name}={getattr(self, name)}: must be 0 or more")
        if not 0 < self.encoder_rate < math.inf:
            raise SettingsError(f"vol.encoder_rate={self.encoder_rate}: must be above 0 and finite")
        check_grouping(self, self.decoder, self.warmup, self.link_threshold)

    @property
    def mask_kinds(self) -> tuple[str, ...]:
        """See `Method.mask_kinds`."""
        return (self.masks,)

    @property
    def clip_frames(self) -> int:
        """See `Method.clip_frames`."""
        return self.frames if self.joint else 1

    def check(self, backbone: BackboneSpec, views: ViewsSpec) -> None:
        """See `Method.check`: a backbone whose frames depend on each other has its features in runs, of
        which no other clips can be cut; one whose frames stand alone needs neither bank nor online encoding.
        """
        if self.clips_from == "bank" and not views.clips:
            raise SettingsError("vol.clips_from=bank: the features have no bank of clips; set views.clips=8")
        super().check(backbone, views)
        if ":" not in backbone.name:  # what such a class does is known when it is there
            self._check_clips(backbone.name, frames_together(backbone.name))

    def _check_clips(self, backbone: str, together: int) -> None:
        if self.clips_from == "base" and together > 1:
            raise SettingsError(
                f"vol.clips_from=base: features of {backbone} are those of runs of {together} frames; train "
                "with --set vol.clips_from=bank --set views.clips=8, or with vol.clips_from=online and "
                "backbone.facets=[tokens,pixels]"
            )
        if self.clips_from != "base" and together == 1:
            raise SettingsError(
                f"vol.clips_from={self.clips_from}: backbone {backbone} encodes every frame alone; set "
                "vol.clips_from=base, or choose a video backbone such as videomae_vitb16"
            )
        if self.clips_from != "base" and self.frames != together:
            raise SettingsError(
                f"vol.frames={self.frames}: backbone {backbone} encodes clips of {together} frames; set "
                f"vol.frames={together}"
            )

    @property
    def views(self) -> tuple[str, ...]:
        """See `Method.views`."""
        return ("bank",) if self.clips_from == "bank" else ("base",)

    @property
    def streams(self) -> tuple[tuple[str, str], ...]:
        """See `Method.streams`."""
        return ((self.views[0], "pixels" if self.wants_encoder else self.facet),)

    @property
    def any_grid(self) -> bool:
        """See `Method.any_grid`: position codes are resized."""
        return True

    @property
    def wants_encoder(self) -> bool:
        """See `Method.wants_encoder`."""
        return self.clips_from == "online"

    def fits(self) -> tuple[str, ...]:
        """One training."""
        return ("vol",)

    @property
    def facets(self) -> tuple[str, ...]:
        """See `Method.facets`."""
        return (self.facet, "pixels") if self.wants_encoder else (self.facet,)

    def clips(self, fit: str) -> Pattern:
        """Random clips of random strides."""
        from stages.features.store.samplers import BankClip, RandomClip

        if self.clips_from == "bank":
            return BankClip(self.frames, self.clips_per_video)
        return RandomClip(self.frames, self.strides, self.clips_per_video, repeat_last=True)

    def implement(self) -> Implementation:
        """See `Method.implement`."""
        from stages.discovery.vol_implementation import Vol

        return Vol(self)


def check_positive(method: Method, *names: str) -> None:
    """Refuse whole numbers below 1.

    Raises:
        SettingsError: names the option.
    """
    for name in names:
        if getattr(method, name) < 1:
            raise SettingsError(f"{method.name}.{name}={getattr(method, name)}: must be at least 1")


def check_grouping(method: Method, hidden: tuple[int, ...], warmup: int, link_threshold: float) -> None:
    """Refuse what VOL and DINOSAUR can't be given.

    Raises:
        SettingsError: names the option.
    """
    if not hidden or min(hidden) < 1:
        raise SettingsError(f"{method.name}.decoder={list(hidden)}: give one or more widths, each at least 1")
    if warmup < 0:
        raise SettingsError(f"{method.name}.warmup={warmup}: must be 0 or more")
    if not 0 <= link_threshold <= 1:
        raise SettingsError(f"{method.name}.link_threshold={link_threshold}: must lie between 0 and 1")
