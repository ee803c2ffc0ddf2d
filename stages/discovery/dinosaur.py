"""DINOSAUR, the image baseline (methods sheet 6.1): slots of single frames. The declaration; imports no
torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from stages.discovery.contract import Method
from stages.discovery.vol import check_grouping, check_positive

if TYPE_CHECKING:
    from stages.discovery.contract import Implementation
    from stages.features.store.samplers import RandomClip


@dataclass(frozen=True)
class DinosaurMethod(Method):
    """Reconstructs the features of a frame from slots that are drawn from one Gaussian.

    The defaults are the published COCO model on a ViT-B/16, with the 15 slots of VOL's comparison. MOVi-E:
    ``slots=24 slot_width=128 hidden=512``, and ``decoder=[1024,1024,1024]``, or ``autoregressive=true heads=4
    masks=attention``.

    Raises:
        SettingsError: for options that can't be.
    """

    name: ClassVar[str] = "dinosaur"
    protocol: ClassVar[str] = "corloc@vol"
    after_training: ClassVar[frozenset[str]] = frozenset({"masks", "link_threshold", "seed"})

    facet: str = "tokens"
    """Which features are grouped and reconstructed."""
    slots: int = 15
    """Slots of a frame."""
    slot_width: int = 256
    """Channels of a slot."""
    iterations: int = 3
    """Updates of slot attention."""
    hidden: int = 1024
    """Width between the layers of the slots' MLP."""
    autoregressive: bool = False
    """A transformer that predicts one patch after the other; else an MLP that paints all positions."""
    decoder: tuple[int, ...] = (2048, 2048, 2048)
    """Widths between the layers of the MLP decoder."""
    layers: int = 4
    """Layers of the autoregressive decoder."""
    heads: int = 8
    """Heads of its attention; they share the channels of the features."""
    clips_per_video: int = 1
    """Training frames of a video in an epoch."""
    warmup: int = 10_000
    """Steps over which the learning rate rises from 0."""
    half_life: int = 100_000
    """Steps in which it halves after that."""
    masks: Literal["decoder", "attention"] = "decoder"
    """Which masks come first: the decoder's (alpha, or what its last layer attends to), or slot attention's.
    They are the method's result, the others are reported too."""
    link_threshold: float = 0.0
    """How alike slots of neighbouring frames have to be to become one tube, up to 1 (the rule is vol's); 0
    links nothing, as published."""
    seed: int = 287
    """Of the one draw of initial slots that all frames are segmented with."""

    def __post_init__(self) -> None:
        check_positive(
            self, "slots", "slot_width", "iterations", "hidden", "layers", "heads", "clips_per_video",
            "half_life",
        )  # fmt: skip
        check_grouping(self, self.decoder, self.warmup, self.link_threshold)

    @property
    def facets(self) -> tuple[str, ...]:
        """See `Method.facets`."""
        return (self.facet,)

    @property
    def any_grid(self) -> bool:
        """See `Method.any_grid`: the MLP has position codes of one grid, the transformer has none."""
        return self.autoregressive

    @property
    def mask_kinds(self) -> tuple[str, ...]:
        """See `Method.mask_kinds`."""
        return ("decoder", "attention") if self.masks == "decoder" else ("attention", "decoder")

    def fits(self) -> tuple[str, ...]:
        """One training."""
        return ("dinosaur",)

    def clips(self, fit: str) -> RandomClip:
        """Single frames."""
        from stages.features.store.samplers import RandomClip

        return RandomClip(1, clips_per_video=self.clips_per_video)

    def implement(self) -> Implementation:
        """See `Method.implement`."""
        from stages.discovery.dinosaur_implementation import Dinosaur

        return Dinosaur(self)
