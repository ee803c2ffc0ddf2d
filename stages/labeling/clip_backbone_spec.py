"""CLIP's image tower as a backbone of the feature store (``backbone.name=clip``). Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar

from stages.features.backbone_spec import BackboneSpec, Description
from stages.features.backbones.table import CLIP
from stages.labeling.clip_spec import ClipSpec


@dataclass(frozen=True)
class ClipBackboneSpec(BackboneSpec):
    """The tower of ``clip``, whose weights and channel statistics are the model's own.

    Of a backbone's other fields facets, precision, batch and compile count.

    Raises:
        SettingsError: a model without patches, or facets that it does not have.
    """

    implementation: ClassVar[str] = "stages.labeling.clip_backbone:ClipBackbone"

    clip: ClipSpec = field(default_factory=ClipSpec)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.clip.check_patches()

    @classmethod
    def of(cls, spec: BackboneSpec, clip: ClipSpec) -> ClipBackboneSpec:
        """The settings ``spec`` of section ``backbone`` with the model of section ``label``."""
        return cls(**{entry.name: getattr(spec, entry.name) for entry in fields(BackboneSpec)}, clip=clip)

    def resolved(self) -> ClipBackboneSpec:
        """See `BackboneSpec.resolved`."""
        plain = BackboneSpec()
        ignored = ("revision", "seed", "layer", "norm", "stage", "stride", "statistics")
        weights = self.clip.weights if self.clip.weights in ("hub", "random") else "file"
        return replace(
            self, name=CLIP, weights=weights, facets=tuple(sorted(set(self.facets))),
            **{name: getattr(plain, name) for name in ignored},
        )  # fmt: skip

    def identity(self) -> dict[str, Any]:
        """See `BackboneSpec.identity`: a model that moves keeps it."""
        return {**super().identity(), "clip": self.clip.identity()}

    def weights_identity(self) -> str:
        """See `ClipSpec.weights_identity`."""
        return self.clip.weights_identity()

    def described(self) -> Description:
        """See `BackboneSpec.described`."""
        config = self.clip.config()
        vision = config["vision_cfg"]
        size, patch, width = (
            vision.get("image_size", 224),
            vision.get("patch_size", 16),
            vision.get("width", 768),
        )
        widths = {facet: config["embed_dim"] if facet == "embedding" else width for facet in self.facets}
        return Description(widths, patch, patch, size if isinstance(size, int) else min(size))
