"""The config section ``data``: which corpus, and how it is cut into videos. The root is not part of it."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from typing import Literal

from stages.sprites.spec import SpritesSpec

KINDS = ("folder", "frames", "davis", "sprites")


@dataclass(frozen=True)
class DataSpec:
    """What a catalog is made of; only the fields that matter to ``kind`` enter its fingerprint.

    Raises:
        ValueError: for an unknown kind, a segment shorter than one frame or a clock that does not run.
    """

    kind: str = "folder"
    """``folder`` of video files, ``frames`` (folders of images), ``davis``, ``sprites``, or a
    ``package.module:Class`` that is a `stages.catalog.dataset.DataSet`."""
    name: str = ""
    """Name of the data set in artifacts; the data root's own name where it is empty."""
    year: Literal["auto", "2016", "2017"] = "auto"
    """davis: which edition; ``auto`` reads it off the lists and folders under the root, never off pixels."""
    split: str | None = None
    """davis: the list to take (``train``, ``val``, ...); None or ``all`` takes every list of the year."""
    segment_frames: int = 500
    """Longest segment, in source frames; longer videos become several rows."""
    fps: float | None = None
    """frames, davis: frames per second of the image folders; None: they have no clock."""
    sprites: SpritesSpec = field(default_factory=SpritesSpec)
    """sprites: the clips to generate."""

    def __post_init__(self) -> None:
        if self.kind not in KINDS and ":" not in self.kind:
            near = difflib.get_close_matches(self.kind, KINDS, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ValueError(
                f"data.kind={self.kind!r} is none of {', '.join(KINDS)} or package.module:Class{hint}"
            )
        if self.segment_frames < 1:
            raise ValueError(f"data.segment_frames={self.segment_frames} must be at least 1")
        if self.fps is not None and not 0 < self.fps < float("inf"):
            raise ValueError(f"data.fps={self.fps} must be a positive number of frames per second")
