"""The features stage: frames of every video through a frozen backbone into feature shards.

Plans import this module, so it imports neither torch nor a decoder.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

from stages.decode.spec import DecodeSpec, Geometry, expected_frames
from stages.errors import SettingsError
from stages.features.backbone_spec import BackboneSpec, check_masked, describe, fallback_size
from stages.features.backbones.table import PATCH_FACETS, PIXELS, frames_together
from stages.features.views import KEPT, ViewsSpec
from stages.stage import MapStage, Row, ShardWorker, ShardWriter, WorkContext, canonical

TAR_BLOCK = 512
NPY_HEADER = 128
GUESSED_WIDTH = 768
"""Channels that a model outside of the table is taken to have until its first shard is there."""


@dataclass(frozen=True)
class FeaturesStage(MapStage):
    """Catalog rows in, feature shards out.

    Attributes:
        backbone: the model and its facets.
        decode: sampling, cropping and resizing.
        geometry: size of the frames; None: the model's default short side with the aspect kept. Both sides
            are rounded down to what the model needs (whole patches).
        views: what is stored beside the plain frames.
        encoding: ``fp16``, or ``int8`` with a scale per channel; pixels and positions are stored exactly.

    Raises:
        SettingsError: masked views of a backbone that can't leave out patches, or a bank of clips of one
            whose frames stand alone.
    """

    kind: ClassVar[str] = "features"
    suffix: ClassVar[str] = ".tar"
    accelerated: ClassVar[bool] = True
    decodes: ClassVar[bool] = True

    backbone: BackboneSpec = field(default_factory=BackboneSpec)
    decode: DecodeSpec = field(default_factory=DecodeSpec)
    geometry: Geometry | None = None
    views: ViewsSpec = field(default_factory=ViewsSpec)
    encoding: Literal["fp16", "int8"] = "fp16"

    def __post_init__(self) -> None:
        if self.views.masked:
            check_masked(self.backbone)
        if self.views.clips and ":" not in self.backbone.name and frames_together(self.backbone.name) == 1:
            raise frames_stand_alone(self.backbone.name)

    @property
    def name(self) -> str:
        """The backbone's name with everything but ``[a-z0-9_.-]`` made a dash."""
        return re.sub(r"[^a-z0-9_.-]+", "-", self.backbone.resolved().name.lower()).strip("-.")

    def frame_geometry(self) -> Geometry:
        """The size of the frames with the model's default and the model's multiple worked in."""
        known = describe(self.backbone)
        size, multiple = fallback_size(self.backbone.name)
        if known is not None:
            size, multiple = known.default_size, known.multiple
        if self.geometry is None:
            return Geometry(size, multiple)
        return replace(self.geometry, multiple=math.lcm(self.geometry.multiple, multiple))

    def identity(self) -> dict[str, Any]:
        """As `Stage.identity`, with settings that mean the same said the same way.

        A weights file counts by its content, never by its path.
        """
        parts = {"geometry": canonical(self.frame_geometry()), "views": self.views.identity()}
        fields = {**canonical(self), **parts, "backbone": self.backbone.identity()}
        return {**super().identity(), "fields": fields}

    def weights_identity(self) -> str:
        """See `BackboneSpec.weights_identity`."""
        return self.backbone.weights_identity()

    def open(self, context: WorkContext) -> ShardWorker:
        """The backbone loaded and a decoder child started.

        Raises:
            SettingsError: the backbone can't be had as described.
        """
        from stages.features.worker import FeaturesWorker

        return FeaturesWorker(self, context)

    def writer(self, path: Path, shard: str) -> ShardWriter:
        """A `FeatureShardWriter`."""
        from stages.features.store.writer import FeatureShardWriter

        return FeatureShardWriter(path, shard, self.encoding)

    def estimate(self, row: Row) -> tuple[int, int]:
        """``(frames, bytes)`` for a catalog row; a guess where the model is not in the table."""
        frames = expected_frames(row["frames"], row["fps"], self.decode)
        return frames, frames * self.bytes_per_frame(*upright(row)) + self._bank_bytes(*upright(row))

    def size_known(self) -> bool:
        """Whether the model is in the table."""
        return describe(self.backbone) is not None

    def bytes_per_frame(self, height: int, width: int) -> int:
        """Bytes in the shard for one frame of an upright video of that size: all views and facets.

        A model outside of the table counts with `GUESSED_WIDTH` channels: good enough to lay out shards.
        """
        size = self.frame_geometry().resolve(height, width)
        shapes = self._shapes(*size)
        whole = sum(self._member_bytes(facet, shape) for facet, shape in shapes.items())
        parts = 0
        if self.views.masked:
            dense = {facet: shape for facet, shape in shapes.items() if facet in PATCH_FACETS}
            kept = self.views.kept(next(iter(dense.values()))[0])
            parts = sum(self._member_bytes(facet, (kept, shape[1])) for facet, shape in dense.items())
            parts += self._member_bytes(KEPT, (kept, 1))
        return whole * len(self.views.whole()) + parts * self.views.masked

    def _bank_bytes(self, height: int, width: int) -> int:
        """Bytes of one video's bank of clips."""
        shapes = self._shapes(*self.frame_geometry().resolve(height, width))
        frame = sum(self._member_bytes(facet, shape) for facet, shape in shapes.items() if facet != PIXELS)
        return self.views.clips * frames_together(self.backbone.name) * frame

    def _shapes(self, height: int, width: int) -> dict[str, tuple[int, ...]]:
        """Facets of one frame of that size with their shapes, the width of unknown models being a guess."""
        known = describe(self.backbone.resolved())
        if known is not None:
            return {facet: known.shape(facet, height, width) for facet in known.widths}
        _, patch = fallback_size(self.backbone.name)
        guess = (height // patch * (width // patch), GUESSED_WIDTH)
        return {f: (height * width, 3) if f == PIXELS else guess for f in self.backbone.facets}

    def _member_bytes(self, facet: str, shape: tuple[int, ...]) -> int:
        values = math.prod(shape)
        if facet == PIXELS:
            return _tar_member(values)
        if self.encoding == "int8" and len(shape) > 1 and facet != KEPT:
            return _tar_member(values) + _tar_member(4 * shape[-1])
        return _tar_member(2 * values)


def frames_stand_alone(backbone: str) -> SettingsError:
    """What is wrong with a bank of clips of such a backbone."""
    return SettingsError(
        f"views.clips: backbone {backbone} encodes every frame alone, so that clips of any kind can be read "
        "from its features; set views.clips=0"
    )


def upright(row: Row) -> tuple[int, int]:
    """``(height, width)`` in pixels of a catalog row as displayed, its rotation applied."""
    size = (int(row["height"]), int(row["width"]))
    return size if (row.get("rotation") or 0) % 180 == 0 else size[::-1]


def _tar_member(values: int) -> int:
    """Bytes of a tar member that holds an .npy file with ``values`` bytes of numbers."""
    return TAR_BLOCK + -(-(NPY_HEADER + values) // TAR_BLOCK) * TAR_BLOCK
