"""Views: the frames of a video seen mirrored, or with other colours and sharpness. Imports no torch.

The random parameters of a photometric view are drawn once per (video, view) and hold for all its frames,
from a seed that depends on nothing but the video's id, the view's name and the spec.
"""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass

import numpy as np

from stages.errors import SettingsError

BASE = "base"
FLIP = "flip"

GREY_CHANCE = 0.2
JITTER_CHANCE = 0.8
JITTER = {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1}
BLUR_CHANCE = 0.5
BLUR_SIGMA = (0.1, 2.0)


@dataclass(frozen=True)
class ViewsSpec:
    """Which views are stored beside the plain one; a config section called ``views``.

    Attributes:
        flip: also the horizontally mirrored frames, as view ``flip``.
        photometric: number of photometric views, ``photo0``, ``photo1``, ...
        seed: of their random parameters.
    """

    flip: bool = False
    photometric: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.photometric < 0:
            raise SettingsError(f"views.photometric={self.photometric}: must be 0 or more")

    def names(self) -> tuple[str, ...]:
        """All views in the order in which they are stored, ``base`` first."""
        return (BASE, *((FLIP,) if self.flip else ()), *(f"photo{i}" for i in range(self.photometric)))


@dataclass(frozen=True)
class Photometry:
    """Parameters of one photometric view: applied in the order grey, jitter, blur (as SMTC and BA train).

    Attributes:
        grey: whether colours are replaced by luminance.
        jitter: (operation, amount) in the order of application: factors of ``brightness``, ``contrast`` and
            ``saturation``, and the turn of ``hue`` in [-0.5, 0.5]; empty for none.
        sigma: deviation in pixels of the Gaussian blur, whose kernel is a tenth of each side made odd; None
            for no blur.
    """

    grey: bool
    jitter: tuple[tuple[str, float], ...]
    sigma: float | None

    @classmethod
    def draw(cls, video: str, view: str, seed: int) -> Photometry:
        """The parameters of ``view`` for ``video``; they depend on the three arguments alone."""
        digest = hashlib.sha256("\0".join((str(seed), video, view)).encode()).digest()
        draw = random.Random(int.from_bytes(digest, "big"))
        grey = draw.random() < GREY_CHANCE
        jittered = draw.random() < JITTER_CHANCE
        amounts = []
        for operation, strength in JITTER.items():
            centre = 0.0 if operation == "hue" else 1.0
            amounts.append((operation, draw.uniform(centre - strength, centre + strength)))
        draw.shuffle(amounts)
        blurred = draw.random() < BLUR_CHANCE
        sigma = draw.uniform(*BLUR_SIGMA)
        return cls(grey, tuple(amounts) if jittered else (), sigma if blurred else None)


def see(rgb: np.ndarray, video: str, view: str, spec: ViewsSpec) -> np.ndarray:
    """``rgb`` (B, H, W, 3) uint8 as ``view`` of ``video`` shows it: the same shape and type.

    Raises:
        ValueError: ``spec`` has no such view.
    """
    if view not in spec.names():
        raise ValueError(f"no view {view!r} among {', '.join(spec.names())}")
    if view == BASE:
        return rgb
    if view == FLIP:
        return np.ascontiguousarray(rgb[:, :, ::-1])
    from stages.features.photometric import change

    return change(rgb, Photometry.draw(video, view, spec.seed))
