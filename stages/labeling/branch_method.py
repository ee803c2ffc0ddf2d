"""The adaptation of patch-CLIP as a method: what it reads and learns. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from stages.discovery.contract import Implementation, Method
from stages.features.store.samplers import Windows
from stages.labeling.clip_spec import ClipSpec
from stages.stage import canonical

if TYPE_CHECKING:
    from stages.features.store.samplers import Pattern

FIT = "branch"


@dataclass(frozen=True)
class PatchClipMethod(Method):
    """The trained branch of VOL's patch-CLIP (methods sheet 1.2.5 and 1.3); every frame is an image.

    Attributes:
        clip: the model whose tower is adapted.
        seen: views of a frame, one of which is read at a time.
    """

    name: ClassVar[str] = "patch_clip"
    protocol: ClassVar[str] = ""

    clip: ClipSpec = field(default_factory=ClipSpec)
    seen: tuple[str, ...] = ("base",)

    def identity(self, training: bool = False) -> dict[str, Any]:
        """See `Method.identity`; a model that moves keeps it."""
        options = {"clip": self.clip.identity(), "seen": canonical(self.seen)}
        return {"method": self.name, "version": self.version, "options": options}

    @property
    def facets(self) -> tuple[str, ...]:
        """See `Method.facets`."""
        return ("penultimate", "penultimate_cls", "embedding")

    @property
    def views(self) -> tuple[str, ...]:
        """One of `seen`, by lot."""
        return ("|".join(self.seen),)

    def fits(self) -> tuple[str, ...]:
        """See `Method.fits`."""
        return (FIT,)

    def clips(self, fit: str) -> Pattern:
        """See `Method.clips`."""
        return Windows(1)

    def implement(self) -> Implementation:
        """See `Method.implement`."""
        from stages.labeling.branch_training import PatchClipImplementation

        return PatchClipImplementation(self)
