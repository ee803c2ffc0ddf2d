"""The config section ``pretrain``: the video transformer's masked pre-training. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass

from stages.errors import SettingsError
from stages.features.backbones.table import KNOWN, KnownModel, known_model
from stages.features.backbones.video_sizes import BlockSizes, VideoVitSizes, sizes_of
from stages.pretraining.schedule import MASKED_SHARE, WARMUP_SHARE


@dataclass(frozen=True)
class PretrainSpec:
    """What is pre-trained, on what clips; the defaults are VOL's (methods sheet 1.2.2 and 1.4).

    Raises:
        SettingsError: for a value that can't be.
    """

    model: str = "videomae_vitb16"
    """Name of the video transformer, as in backbone.name."""
    frames: int = 16
    """Frames of a clip."""
    stride: int = 2
    """Source frames from one frame of a clip to the next."""
    size: int = 224
    """Side of the square frames that the model sees, in pixels."""
    short_side: int = 256
    """Short side of the decoded frames, from which those are cropped."""
    crop_scales: tuple[float, ...] = (1.0, 0.875, 0.75, 0.66)
    """Sides of a crop as shares of the short side; height and width are two that are equal or neighbours."""
    masked: float = MASKED_SHARE
    """Share of the patches that is hidden, the same ones in all frames of a clip."""
    decoder_width: int = 384
    """Channels of the decoder's tokens."""
    decoder_depth: int = 4
    """Blocks of the decoder."""
    decoder_heads: int = 6
    """Heads of its attentions."""
    warmup: float = WARMUP_SHARE
    """Share of the steps over which the learning rate rises to train.rate."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "crop_scales", tuple(self.crop_scales))
        self.decoder()
        native, patch = self.sizes().native, self.known.patch
        if not 1 <= self.frames <= native[0]:
            raise SettingsError(f"pretrain.frames={self.frames}: {self.model} takes 1 to {native[0]} frames")
        if self.stride < 1:
            raise SettingsError(f"pretrain.stride={self.stride}: must be at least 1")
        if self.size < 1 or self.size % patch:
            raise SettingsError(
                f"pretrain.size={self.size}: give a multiple of {self.model}'s patches of {patch}"
            )
        if self.short_side < 1:
            raise SettingsError(f"pretrain.short_side={self.short_side}: must be at least 1")
        if not self.crop_scales or not 0 < min(self.crop_scales) <= max(self.crop_scales) <= 1:
            raise SettingsError(
                f"pretrain.crop_scales={list(self.crop_scales)}: give shares above 0, up to 1"
            )
        if not 0 <= self.warmup < 1:
            raise SettingsError(f"pretrain.warmup={self.warmup}: must be at least 0 and below 1")
        patches = (self.size // patch) ** 2
        if not 0 < int(self.masked * patches) < patches:
            raise SettingsError(
                f"pretrain.masked={self.masked} leaves nothing hidden or nothing seen of a frame's {patches} "
                "patches"
            )

    @property
    def known(self) -> KnownModel:
        """The model's row in the table.

        Raises:
            SettingsError: it is none of a video transformer.
        """
        known = known_model(self.model)
        if known is None or known.family != "video":
            names = ", ".join(name for name, model in KNOWN.items() if model.family == "video")
            raise SettingsError(f"pretrain.model={self.model}: choose among {names}")
        return known

    def sizes(self) -> VideoVitSizes:
        """Of the model."""
        return sizes_of(self.known)

    def decoder(self) -> BlockSizes:
        """Sizes of the decoder."""
        return BlockSizes(self.decoder_width, self.decoder_depth, self.decoder_heads)
