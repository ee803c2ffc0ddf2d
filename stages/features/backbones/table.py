"""The backbones known by name: widths, patches, sizes, addresses of released weights. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Family = Literal["vit", "cnn", "video", "patchstats"]

VIT_FACETS = ("tokens", "keys", "queries", "cls", "pixels")
PATCH_FACETS = ("tokens", "keys", "queries")
"""Facets of a ViT with one vector per patch that its blocks have computed."""
PIXELS = "pixels"
"""The frame itself, uint8 (H * W, 3): for methods that run the frozen ViT while they train."""
CNN_FACETS = ("tokens",)
VIDEO_FACETS = ("tokens", "pixels")
CLIP = "clip"
"""As a backbone's name: the image tower of the CLIP of the section ``label``."""
CLIP_FACETS = ("penultimate", "penultimate_cls", "embedding")
"""Patches and class token after its last block but one, and the image embedding."""
VECTORS = ("cls", "penultimate_cls", "embedding")
"""Facets with one vector per frame."""
PATCHSTATS_WIDTHS = {"tokens": 14, "rgb": 3, "position": 2, "texture": 7, "flow": 2}
RESNET_STAGES = ((64, 2), (256, 4), (512, 8), (1024, 16), (2048, 32))

CLIP_FRAMES = 8
"""Consecutive frames that VOL's video transformer encodes together (methods sheet 1.5.2)."""

_META = "https://dl.fbaipublicfiles.com"


@dataclass(frozen=True)
class KnownModel:
    """One row of the table.

    Attributes:
        name: the short name used in configs.
        family: what kind of encoder it is.
        timm: timm's name of the architecture, with its tag where there is one.
        patch: side of a patch in pixels (total stride of the last stage for a CNN).
        width: channels of a token (of the last stage for a CNN).
        depth: number of blocks of a ViT; of feature maps of a CNN.
        default_size: short side, in pixels, of the frames it gets when the config names no size.
        positions: how position embeddings are resized, see `positions.resize_positions`.
        url: the released checkpoint; "" where there is none to fetch.
        frames: consecutive frames that are encoded together; their features depend on each other.
    """

    name: str
    family: Family
    timm: str = ""
    patch: int = 16
    width: int = 384
    depth: int = 12
    default_size: int = 224
    positions: Literal["offset", "antialias"] = "antialias"
    url: str = ""
    frames: int = 1


def _dino(size: str, patch: int) -> KnownModel:
    letter, width, stem = {"small": ("s", 384, "deitsmall"), "base": ("b", 768, "vitbase")}[size]
    stem = f"dino_{stem}{patch}_pretrain"
    return KnownModel(
        name=f"dino_vit{letter}{patch}",
        family="vit",
        timm=f"vit_{size}_patch{patch}_224.dino",
        patch=patch,
        width=width,
        default_size=224 if patch == 16 else 192,
        positions="offset",
        url=f"{_META}/dino/{stem}/{stem}.pth",
    )


def _dinov2(size: str, registers: bool) -> KnownModel:
    letter, width = {"small": ("s", 384), "base": ("b", 768)}[size]
    model = f"dinov2_vit{letter}14"
    return KnownModel(
        name=model + ("_reg" if registers else ""),
        family="vit",
        timm=f"vit_{size}_patch14_{'reg4_' if registers else ''}dinov2.lvd142m",
        patch=14,
        width=width,
        positions="antialias" if registers else "offset",
        url=f"{_META}/dinov2/{model}/{model}_{'reg4_' if registers else ''}pretrain.pth",
    )


def _resnet50(name: str, path: str) -> KnownModel:
    return KnownModel(name, "cnn", "resnet50", patch=32, width=2048, depth=5, url=f"{_META}/{path}")


def _videomae(letter: str, width: int, patch: int) -> KnownModel:
    return KnownModel(f"videomae_vit{letter}{patch}", "video", patch=patch, width=width, frames=CLIP_FRAMES)


KNOWN: dict[str, KnownModel] = {
    model.name: model
    for model in (
        KnownModel("patchstats", "patchstats", patch=8, width=14, depth=0, default_size=128),
        *(_dino(size, patch) for size in ("small", "base") for patch in (16, 8)),
        *(_dinov2(size, registers) for size in ("small", "base") for registers in (False, True)),
        _resnet50("dino_resnet50", "dino/dino_resnet50_pretrain/dino_resnet50_pretrain.pth"),
        _resnet50("moco_resnet50", "moco/moco_checkpoints/moco_v2_800ep/moco_v2_800ep_pretrain.pth.tar"),
        _videomae("b", 768, 16),
        _videomae("s", 384, 16),
        _videomae("t", 192, 16),
        _videomae("t", 192, 8),
    )
}

_BY_TIMM = {model.timm: model for model in KNOWN.values() if "." in model.timm}


def known_model(name: str) -> KnownModel | None:
    """The row for ``name`` (a short name, or timm's full name with its tag); None for any other name."""
    return KNOWN.get(name) or _BY_TIMM.get(name)


def frames_together(name: str) -> int:
    """How many consecutive frames the backbone ``name`` encodes together; 1 where frames stand alone, and for
    names outside of the table.
    """
    known = known_model(name)
    return known.frames if known else 1
