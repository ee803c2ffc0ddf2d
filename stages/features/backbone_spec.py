"""Which backbone, which of its features, and how they are computed. Imports neither torch nor timm."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

from stages.artifacts import whole
from stages.errors import SettingsError
from stages.features.backbones.table import (
    CLIP,
    CLIP_FACETS,
    CNN_FACETS,
    PATCH_FACETS,
    PATCHSTATS_WIDTHS,
    PIXELS,
    RESNET_STAGES,
    VECTORS,
    VIDEO_FACETS,
    VIT_FACETS,
    KnownModel,
    known_model,
)
from stages.stage import canonical

Norm = Literal["before", "after"]
Statistics = Literal["auto", "imagenet", "kinetics", "clip", "half", "none"]
Precision = Literal["fp32", "bf16", "fp16"]


@dataclass(frozen=True)
class BackboneSpec:
    """Everything about a frozen backbone that changes its features; a config section called ``backbone``.

    Fields that mean nothing for a model's family are ignored, and `resolved` takes them out of fingerprints.

    Attributes:
        name: a name of the table (`table.KNOWN`, listed below), any timm name, or ``package.module:Class``.
        weights: ``hub`` (the released ones), ``random`` (drawn from ``seed``), the path of a .safetensors
            or .pth file, or the artifact folder of a pre-training (recipe pretrain_videomae).
        revision: branch, tag or commit of the hub repository of a timm name outside of the table.
        seed: of random weights.
        facets: what is stored. ViT: ``tokens`` (patch outputs of block ``layer``), ``cls`` (its class
            token), ``keys`` and ``queries`` of the last attention (patches only, heads concatenated),
            ``pixels`` (the resized frame itself, 3 bytes per pixel, for methods that run the ViT online).
            CNN: ``tokens``. Video transformer: ``tokens`` (of its last block) and ``pixels``. patchstats:
            ``tokens`` or its parts ``rgb``, ``position``, ``texture``, ``flow``.
            clip: ``penultimate`` and ``penultimate_cls`` (patches and class token after the last block but
            one), ``embedding`` (of the image).
        layer: block of a ViT whose output ``tokens`` and ``cls`` are: 0-based, negative from the end.
        norm: ``before`` or ``after`` the final layer norm (SOLV and its like take them before).
        stage: feature map of a CNN, 0-based, negative from the end (the deepest one).
        stride: pixels per token of a CNN (strides beyond it become dilations); patch side of patchstats.
            None: the model's own.
        statistics: channel mean and deviation that frames are normalised with; ``half`` is 0.5/0.5,
            ``none`` leaves them in [0, 1], ``auto`` is what the model was trained with.
        precision: ``fp32``; ``bf16`` or ``fp16`` under autocast (fp16 on a GPU only). Stored is always fp16.
        batch: frames per forward pass (batch shape changes the last bits). The tail of a video is split into
            powers of two. Video transformers: a multiple of the frames that they encode together.
        compile: run through ``torch.compile`` (changes the last bits too).
    """

    implementation: ClassVar[str] = ""
    """``package.module:Class`` of the backbone; "" where `backbones.base.build` goes by the name."""

    name: str = "patchstats"
    weights: str = "hub"
    revision: str = "main"
    seed: int = 0
    facets: tuple[str, ...] = ("tokens",)
    layer: int = -1
    norm: Norm = "before"
    stage: int = -1
    stride: int | None = None
    statistics: Statistics = "auto"
    precision: Precision = "fp32"
    batch: int = 8
    compile: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "facets", tuple(self.facets))
        for field, options in (("norm", Norm), ("statistics", Statistics), ("precision", Precision)):
            if getattr(self, field) not in get_args(options):
                raise SettingsError(
                    f"backbone.{field}={getattr(self, field)!r}: choose one of {', '.join(get_args(options))}"
                )
        if self.batch < 1:
            raise SettingsError(f"backbone.batch={self.batch}: at least 1 frame per forward pass is needed")
        _check_facets(self)
        _check_model(self, known_model(self.name))

    def resolved(self) -> BackboneSpec:
        """The same features said in one way only: aliases, defaults and meaningless fields made equal."""
        changes: dict[str, Any] = {"facets": tuple(sorted(set(self.facets)))}
        if self.weights != "random":
            changes["seed"] = 0
        known = known_model(self.name)
        if known is None:
            return replace(self, **changes)
        changes |= {"name": known.name, "revision": "main", "statistics": self.statistics}
        if self.statistics == "auto":
            changes["statistics"] = "imagenet"
        if known.family == "vit":
            changes |= {"layer": self.layer % known.depth, "stage": -1, "stride": None}
        elif known.family == "cnn":
            changes |= {"layer": -1, "norm": "before", "stage": self.stage % known.depth}
            bound = RESNET_STAGES[self.stage][1] > (self.stride or known.patch)
            changes["stride"] = self.stride if bound else None
        elif known.family == "video":
            changes |= {"layer": -1, "norm": "before", "stage": -1, "stride": None}
        else:
            patch = self.stride or known.patch
            return BackboneSpec(facets=changes["facets"], stride=patch, statistics="none", batch=self.batch)
        return replace(self, **changes)

    def identity(self) -> dict[str, Any]:
        """What decides the features beside the weights, as JSON types; no path of a weights file."""
        same = self.resolved()
        if same.weights not in ("hub", "random"):
            same = replace(same, weights="file")
        content: dict[str, Any] = canonical(same)
        return content

    def described(self) -> Description | None:
        """What is known about a backbone that the table does not have; see `describe`."""
        return None

    def weights_identity(self) -> str:
        """``sha256:<digest>`` of a file, ``random:<seed>``, ``hub:<what is fetched>``; ``""`` for none.

        Raises:
            SettingsError: the weights file can't be read.
        """
        known = known_model(self.name)
        if known is not None and known.family == "patchstats":
            return ""
        if self.weights == "random":
            return f"random:{self.seed}"
        if self.weights == "hub" and known is not None and not known.url:
            raise SettingsError(
                f"backbone {known.name} has no released weights to fetch: pre-train it with the recipe "
                "pretrain_videomae and give the folder that it prints with --set backbone.weights=FOLDER, or "
                "give a checkpoint's file, or random"
            )
        if self.weights == "hub":
            return f"hub:{known.url}" if known else f"hub:timm/{self.name}@{self.revision}"
        return "sha256:" + file_digest(str(weights_file(self.weights)))


@dataclass(frozen=True)
class Description:
    """What is known about a backbone without loading it.

    Attributes:
        widths: channels of each facet of the spec; those of `VECTORS` are one vector per frame, the others
            one per token.
        patch: pixels per token, in both directions.
        multiple: what height and width of the frames must be multiples of.
        default_size: short side in pixels when the config names no size.
    """

    widths: dict[str, int]
    patch: int
    multiple: int
    default_size: int

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of tokens for frames of ``height`` x ``width`` pixels."""
        return height // self.patch, width // self.patch

    def shape(self, facet: str, height: int, width: int) -> tuple[int, ...]:
        """Shape of ``facet`` for one frame: (N, D), (D,) for one of `VECTORS`, (H * W, 3) for ``pixels``."""
        rows, columns = self.grid(height, width)
        channels = self.widths[facet]
        if facet == PIXELS:
            return (height * width, channels)
        return (channels,) if facet in VECTORS else (rows * columns, channels)


def describe(spec: BackboneSpec) -> Description | None:
    """Widths and sizes from the table; None for other names, whose size is known after the first shard."""
    known = known_model(spec.name)
    if known is None:
        return spec.described()
    if known.family == "patchstats":
        patch = spec.stride or known.patch
        widths = {facet: PATCHSTATS_WIDTHS[facet] for facet in spec.facets}
        return Description(widths, patch, patch, known.default_size)
    if known.family == "cnn":
        width = RESNET_STAGES[spec.stage][0]
        patch = _cnn_stride(spec, known)
        return Description(dict.fromkeys(spec.facets, width), patch, known.patch, known.default_size)
    widths = {facet: 3 if facet == PIXELS else known.width for facet in spec.facets}
    return Description(widths, known.patch, known.patch, known.default_size)


def fallback_size(name: str) -> tuple[int, int]:
    """``(short side, multiple)`` of the frames for a model outside of the table, read off its name."""
    patch = re.search(r"patch(\d+)", name)
    return 224, int(patch.group(1)) if patch else 32


def check_masked(spec: BackboneSpec) -> None:
    """Refuse to drop patches before a model that has none, or whose spec names nothing per patch.

    A timm name outside of the table is looked at again when the model is there.

    Raises:
        SettingsError: the backbone is no ViT, or has no facet of `PATCH_FACETS`.
    """
    known = known_model(spec.name)
    if ":" in spec.name or (known is not None and known.family != "vit"):
        raise SettingsError(
            f"views.masked: backbone {spec.name} can't leave out patches; choose a ViT such as dino_vits16, "
            "or views.masked=0"
        )
    if not set(PATCH_FACETS) & set(spec.facets):
        raise SettingsError(
            f"views.masked: there is nothing per patch in backbone.facets={','.join(spec.facets)}; "
            f"name one of {', '.join(PATCH_FACETS)}"
        )


def _cnn_stride(spec: BackboneSpec, known: KnownModel) -> int:
    return min(RESNET_STAGES[spec.stage % known.depth][1], spec.stride or known.patch)


def _check_facets(spec: BackboneSpec) -> None:
    known = known_model(spec.name)
    families = {
        "vit": VIT_FACETS,
        "cnn": CNN_FACETS,
        "video": VIDEO_FACETS,
        "patchstats": tuple(PATCHSTATS_WIDTHS),
    }
    possible = families[known.family] if known else CLIP_FACETS if spec.name == CLIP else VIT_FACETS
    wrong = [facet for facet in spec.facets if facet not in possible]
    if (wrong and ":" not in spec.name) or not spec.facets:
        raise SettingsError(
            f"backbone {spec.name} has no facet {', '.join(wrong) or '(none given)'}: "
            f"choose among {', '.join(possible)}"
        )


def _check_model(spec: BackboneSpec, known: KnownModel | None) -> None:
    """Index and stride within what a known model has."""
    if known is None:
        return
    field = {"vit": "layer", "cnn": "stage"}.get(known.family)
    if field and not -known.depth <= getattr(spec, field) < known.depth:
        raise SettingsError(
            f"backbone.{field}={getattr(spec, field)}: {spec.name} has {known.depth} of them, "
            f"{-known.depth}..{known.depth - 1}"
        )
    if known.family == "cnn" and spec.stride not in (None, 8, 16, 32):
        raise SettingsError(f"backbone.stride={spec.stride}: {spec.name} can have 8, 16 or 32")
    if spec.batch % known.frames:
        raise SettingsError(
            f"backbone.batch={spec.batch}: {spec.name} encodes {known.frames} frames together; give a "
            "multiple"
        )
    if known.family == "patchstats":
        if spec.stride is not None and (spec.stride < 4 or spec.stride % 2):
            raise SettingsError(
                f"backbone.stride={spec.stride}: patchstats needs an even patch side, 4 or more"
            )
        if spec.batch < 2:
            raise SettingsError(
                "backbone.batch=1: patchstats compares neighbouring frames and needs 2 or more"
            )


def weights_file(text: str) -> Path:
    """The file that ``backbone.weights`` names: itself, or the one in the artifact folder of a pre-training.

    Raises:
        SettingsError: a folder without weights, such as that of a training that has not ended.
    """
    path = Path(text)
    if not path.is_dir():
        return path
    files = sorted((whole.files(path) or path).glob("*.safetensors"))
    if len(files) != 1:
        raise SettingsError(
            f"backbone.weights={text} is a folder with {len(files)} weights files, not one: give the "
            "artifact folder that a finished pretrain_videomae printed, or a file"
        )
    return files[0]


def file_digest(path: str) -> str:
    """SHA-256 (hex) of a weights file, computed once per file version and process.

    Raises:
        SettingsError: the file is absent or can't be read.
    """
    try:
        stat = Path(path).stat()
        return _digest(path, stat.st_size, stat.st_mtime_ns)
    except OSError as error:
        raise SettingsError(
            f"weights file {path} can't be read ({error.strerror}): give an existing file with "
            "--set backbone.weights=PATH, or hub, or random"
        ) from error


@lru_cache(maxsize=16)
def _digest(path: str, size: int, mtime_ns: int) -> str:
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
