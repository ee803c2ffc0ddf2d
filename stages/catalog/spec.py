"""The config section ``data``: which corpus, and how it is cut into videos. The root is not part of it."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from typing import Literal

from stages.sprites.spec import SpritesSpec

KINDS = (
    "folder", "frames", "davis", "ytvis", "movi_e", "imagenet_vid", "image_folder", "ssv2", "sprites",
)  # fmt: skip

_ANNOTATIONS = {"davis": ("auto", "unsupervised", "semi"), "ytvis": ("auto", "json", "png")}


@dataclass(frozen=True)
class DataSpec:
    """What a catalog is made of; only the fields that matter to ``kind`` enter its fingerprint.

    Raises:
        ValueError: for an unknown kind, a segment shorter than one frame or a clock that does not run.
    """

    kind: str = "folder"
    """``folder`` of video files, ``frames`` (folders of images), ``davis``, ``ytvis``, ``movi_e``,
    ``imagenet_vid``, ``image_folder`` (every image a video), ``ssv2``, ``sprites``, or a
    ``package.module:Class`` that is a `stages.catalog.dataset.DataSet`."""
    name: str = ""
    """Name of the data set in artifacts; the data root's own name where it is empty."""
    year: Literal["auto", "2016", "2017"] = "auto"
    """davis: which edition; ``auto`` reads it off the lists and folders under the root, never off pixels."""
    split: str | None = None
    """davis, ytvis, movi_e, imagenet_vid, image_folder, ssv2: the splits to take, joined by ``+``
    (``train+val``); None or ``all`` takes every one. ytvis also has ``solv300`` (the 300 evaluation videos)
    and ``solv-train`` (train without them)."""
    scored: str = "all"
    """davis, ytvis, movi_e: the splits, named as in ``split``, whose ground truth counts; videos of others
    are taken for videos without any."""
    exclude_eval: bool = False
    """ytvis: leave the 300 evaluation videos out."""
    annotations: Literal["auto", "unsupervised", "semi", "json", "png"] = "auto"
    """davis (2017): ``unsupervised`` or ``semi``-supervised masks; ytvis: those of the ``json`` or ``png``
    files; ``auto`` takes unsupervised masks and PNG files where a video has them."""
    mask_values: Literal["ids", "binary"] = "ids"
    """folder: what masks beside videos hold, ``ids`` (255 is void) or ``binary`` (not 0 is the object)."""
    segment_frames: int = 500
    """Longest segment, in source frames; longer videos become several rows."""
    fps: float | None = None
    """frames, davis, ytvis, movi_e, imagenet_vid: frames per second of the images; None: without a clock."""
    sprites: SpritesSpec = field(default_factory=SpritesSpec)
    """sprites: the clips to generate."""

    def __post_init__(self) -> None:
        if self.kind not in KINDS and ":" not in self.kind:
            near = difflib.get_close_matches(self.kind, KINDS, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ValueError(
                f"data.kind={self.kind!r} is none of {', '.join(KINDS)} or package.module:Class{hint}"
            )
        allowed = _ANNOTATIONS.get(self.kind)
        if allowed is not None and self.annotations not in allowed:
            raise ValueError(
                f"data.annotations={self.annotations} is nothing that data.kind={self.kind} has; "
                f"it is one of {', '.join(allowed)}"
            )
        if self.segment_frames < 1:
            raise ValueError(f"data.segment_frames={self.segment_frames} must be at least 1")
        if self.fps is not None and not 0 < self.fps < float("inf"):
            raise ValueError(f"data.fps={self.fps} must be a positive number of frames per second")
