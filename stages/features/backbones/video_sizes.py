"""Sizes of the video transformer. Imports no torch, so that declarations of stages may hold them."""

from __future__ import annotations

from dataclasses import dataclass, fields

from stages.errors import SettingsError
from stages.features.backbones.table import KnownModel


@dataclass(frozen=True)
class BlockSizes:
    """A stack of transformer blocks whose MLPs are four times as wide as their tokens.

    Attributes:
        width: channels of a token, 3 or more.
        depth: number of blocks.
        heads: of every attention; they share the width.

    Raises:
        SettingsError: for sizes that can't be.
    """

    width: int = 768
    depth: int = 12
    heads: int = 12

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if min(value if isinstance(value, tuple) else (value,)) < 1:
                raise SettingsError(f"{field.name}={value} of a video transformer: must be at least 1")
        if self.width % self.heads or self.width < 3:
            raise SettingsError(
                f"width={self.width} of a video transformer with heads={self.heads}: choose a multiple of the"
                " heads, 3 or more"
            )


@dataclass(frozen=True)
class VideoVitSizes(BlockSizes):
    """The video transformer of VOL; the defaults are ViT-B's (methods sheet 1.2.1).

    Attributes:
        patch: side of a patch in pixels; a patch is one frame deep.
        native: frames, rows and columns of patches that the position code is laid out for. Clips may have
            fewer frames, never more; other rows and columns are interpolated.
    """

    patch: int = 16
    native: tuple[int, int, int] = (16, 14, 14)

    def __post_init__(self) -> None:
        object.__setattr__(self, "native", tuple(self.native))
        super().__post_init__()
        if len(self.native) != 3:
            raise SettingsError(
                f"native={list(self.native)} of a video transformer: give frames, rows and columns"
            )


HEAD_WIDTH = 64


def sizes_of(model: KnownModel) -> VideoVitSizes:
    """Sizes of a video transformer of the table: heads of 64 channels, as in every ViT of these widths."""
    return VideoVitSizes(model.width, model.depth, model.width // HEAD_WIDTH, model.patch)
