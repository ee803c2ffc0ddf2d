"""SOLV: self-supervised object-centric learning for videos (methods sheet 2). The declaration; imports no
torch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from stages.discovery.contract import Method
from stages.errors import SettingsError

if TYPE_CHECKING:
    from stages.discovery.contract import Implementation
    from stages.features.store.samplers import Windows

TokenDrop = Literal["after_encoder", "premasked", "online", "none"]


@dataclass(frozen=True)
class SolvMethod(Method):
    """Reconstructs the features of a window's centre frame from merged slots.

    The ablation models of the paper: A ``invariant=false temporal=false merge=false``, B with ``merge``, C
    with ``merge`` and ``temporal``, D with ``merge`` and ``invariant``, E with all.

    Raises:
        SettingsError: for options that contradict each other.
    """

    name: ClassVar[str] = "solv"
    protocol: ClassVar[str] = "miou@solv"
    after_training: ClassVar[frozenset[str]] = frozenset({"always_match", "masks"})

    facet: str = "tokens"
    """Which features are grouped and reconstructed."""
    slots: int = 8
    """Slots of a frame."""
    slot_width: int = 128
    """Channels of a slot."""
    frames: int = 5
    """Frames of a window; odd."""
    iterations: int = 3
    """Updates of slot attention, beside one last pass that only attends."""
    invariant: bool = True
    """Slot-relative coordinates (invariant slot attention); else the plain kind with learned positions."""
    temporal: bool = True
    """Bind slots over the frames of a window; else the centre frame stands alone."""
    temporal_layers: int = 3
    """Layers of the temporal transformer."""
    temporal_heads: int = 8
    """Heads of the temporal transformer."""
    hidden: int = 512
    """Width between the layers of the slots' MLP and of the temporal transformer."""
    decoder: tuple[int, ...] = (1024, 1024, 1024, 1024)
    """Widths between the layers of the decoder."""
    dropout: float = 0.1
    """In the slots' MLP and the temporal transformer."""
    merge: bool = True
    """Merge similar slots, in training (more often from epoch to epoch) and in segmentation."""
    merge_threshold: float = 0.12
    """Cosine distance at which slots are no longer merged."""
    min_clusters: int = 3
    """A merging that leaves fewer slots is discarded (as the released code does; 1 never discards)."""
    start: Literal["published", "spread", "clustering"] = "published"
    """Initial weights: as published; slots of unit deviation and equal orthogonal maps for queries and keys;
    or slot attention as a soft clustering of the tokens, which a decoder that hardly paints learns to read.
    The latter two are for short trainings of small models, which collapse with the published ones."""
    encoder_rate: float = 1.0
    """Learning rate of everything but the decoder, as a share of train.rate. With ``start=clustering`` a
    small one keeps the fresh decoder from spoiling what the slots say."""
    token_drop: TokenDrop = "after_encoder"
    """Which tokens a training step groups: a random part of the cached ones, one of the stored versions
    encoded without the others (premasked, see views.masked), one encoded on the spot (online), or all
    (none)."""
    drop_ratio: float = 0.5
    """Share of the tokens of a frame that is dropped."""
    versions: int = 4
    """Stored versions of a frame, with token_drop=premasked; set views.masked to as many."""
    input_norm: bool = True
    """LayerNorm on the features; off for features of a few channels, whose mean and length say something."""
    centre_features: bool = False
    """Subtract the training set's mean token from the features: short trainings of small models collapse
    less."""
    target_norm: bool = False
    """Reconstruct features whose every token has mean 0 and deviation 1, whatever the backbone's scale."""
    target_channels: int = 0
    """Reconstruct only that many first channels of the features; 0: all. Features with position among them
    are grouped by it, but need not be asked for it."""
    projection: int = 0
    """Width between the layers of the input projection; 0: that of the features."""
    relgrid_index_bug: bool = False
    """The decoder's coordinates from another frame's token positions, as released; see docs."""
    always_match: bool = False
    """Link slots of neighbouring frames also where merging is off; else a slot's number is its identity."""
    masks: Literal["decoder", "attention"] = "decoder"
    """Which masks come first: they are the method's result, the others are reported too."""

    def __post_init__(self) -> None:
        if self.frames % 2 == 0 or self.frames < 1:
            raise SettingsError(f"solv.frames={self.frames}: a window has a centre frame, give an odd number")
        if self.slot_width % self.temporal_heads:
            raise SettingsError(
                f"solv.slot_width={self.slot_width} can't be shared by "
                f"solv.temporal_heads={self.temporal_heads}"
            )
        if not 0 <= self.drop_ratio < 1:
            raise SettingsError(f"solv.drop_ratio={self.drop_ratio}: must be at least 0 and below 1")
        for name in ("slots", "iterations", "temporal_layers", "min_clusters", "versions"):
            if getattr(self, name) < 1:
                raise SettingsError(f"solv.{name}={getattr(self, name)}: must be at least 1")
        for name in ("projection", "target_channels"):
            if getattr(self, name) < 0:
                raise SettingsError(f"solv.{name}={getattr(self, name)}: must be 0 or more")
        if not 0 < self.encoder_rate < math.inf:
            raise SettingsError(f"solv.encoder_rate={self.encoder_rate}: must be above 0 and finite")
        if not 0 <= self.merge_threshold <= 2:
            raise SettingsError(
                f"solv.merge_threshold={self.merge_threshold}: a cosine distance lies between 0 and 2"
            )

    @property
    def facets(self) -> tuple[str, ...]:
        """See `Method.facets`."""
        return (self.facet, "pixels") if self.token_drop == "online" else (self.facet,)

    @property
    def views(self) -> tuple[str, ...]:
        """See `Method.views`."""
        if self.token_drop == "premasked":
            return ("base", *(f"mask{i}" for i in range(self.versions)))
        return ("base",)

    @property
    def streams(self) -> tuple[tuple[str, str], ...]:
        """See `Method.streams`."""
        masked = [(view, facet) for view in self.views[1:] for facet in (self.facet, "kept")]
        return (*(("base", facet) for facet in self.facets), *masked)

    @property
    def wants_encoder(self) -> bool:
        """See `Method.wants_encoder`."""
        return self.token_drop == "online"

    @property
    def mask_kinds(self) -> tuple[str, ...]:
        """See `Method.mask_kinds`."""
        return ("decoder", "attention") if self.masks == "decoder" else ("attention", "decoder")

    def fits(self) -> tuple[str, ...]:
        """One training."""
        return ("solv",)

    def clips(self, fit: str) -> Windows:
        """A window around every frame."""
        from stages.features.store.samplers import Windows

        return Windows(self.frames, centred=True)

    def implement(self) -> Implementation:
        """See `Method.implement`."""
        from stages.discovery.solv_implementation import Solv

        return Solv(self)
