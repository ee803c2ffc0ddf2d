"""Views: frames seen mirrored, with other colours and sharpness, or in part. Imports no torch.

The random parameters of a photometric view are drawn once per (video, view) and hold for all its frames,
from a seed that depends on nothing but the video's id, the view's name and the spec. The patches of a masked
view are drawn for every frame anew, from the frame's index in its source besides.
"""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass
from typing import Any

import numpy as np

from stages.errors import SettingsError
from stages.features.store.schema import BANK_VIEW as BANK
from stages.features.store.schema import BASE_VIEW as BASE
from stages.stage import canonical

FLIP = "flip"
KEPT = "kept"
"""Facet of a masked view that says which patches it has."""
MOST_PATCHES = int(np.iinfo(np.int16).max) + 1

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
        seed: of the random parameters and positions.
        masked: number of masked views, ``mask0``, ``mask1``, ...: plain frames of which the backbone sees a
            random part of the patches only (SOLV's token dropping, stored in several versions). They hold the
            facets per patch, (n, D), and ``kept``, the positions of the n patches, int16 (n, 1), ascending.
        masked_ratio: share of the patches that a masked view leaves out.
        crops: number of views ``crop0``, ``crop1``, ... of a random part of 0.9 to 1.0 of the frame's
            area, resized to the frame's size and flipped half the time (VOL's patch-CLIP).
        clips: number of clips drawn from every video and stored as view ``bank``, for backbones that encode
            the frames of a clip together (VOL's training).
        clip_strides: sampled frames from one frame of such a clip to the next: one of these, drawn for every
            clip.
    """

    flip: bool = False
    photometric: int = 0
    seed: int = 0
    masked: int = 0
    masked_ratio: float = 0.5
    crops: int = 0
    clips: int = 0
    clip_strides: tuple[int, ...] = (1, 2, 4, 8)

    def __post_init__(self) -> None:
        object.__setattr__(self, "clip_strides", tuple(self.clip_strides))
        if not self.clip_strides or min(self.clip_strides) < 1:
            raise SettingsError(
                f"views.clip_strides={list(self.clip_strides)}: give one or more, each at least 1"
            )
        for name in ("photometric", "masked", "crops", "clips"):
            if getattr(self, name) < 0:
                raise SettingsError(f"views.{name}={getattr(self, name)}: must be 0 or more")
        if not 0 <= self.masked_ratio < 1:
            raise SettingsError(f"views.masked_ratio={self.masked_ratio}: must be at least 0 and below 1")

    def whole(self) -> tuple[str, ...]:
        """The views of whole frames in the order in which they are stored, ``base`` first."""
        flip, photos = (FLIP,) if self.flip else (), [f"photo{i}" for i in range(self.photometric)]
        return (BASE, *flip, *photos, *self.cropped())

    def cropped(self) -> tuple[str, ...]:
        """The views of a part of the frame's area."""
        return tuple(f"crop{i}" for i in range(self.crops))

    def parts(self) -> tuple[str, ...]:
        """The masked views, stored after the others."""
        return tuple(f"mask{i}" for i in range(self.masked))

    def names(self) -> tuple[str, ...]:
        """All views in the order in which they are stored, ``base`` first."""
        return (*self.whole(), *self.parts(), *((BANK,) if self.clips else ()))

    def identity(self) -> dict[str, Any]:
        """The fields that change a result: without masked views, crops or a bank of clips, none about them.

        So features made before there were such views keep their fingerprint.
        """
        counts = {"masked": self.masked, "crops": self.crops, "clip": self.clips}
        unused = tuple(word for word, count in counts.items() if not count)
        return {name: value for name, value in canonical(self).items() if not name.startswith(unused)}

    def kept(self, patches: int) -> int:
        """How many of a frame's ``patches`` a masked view keeps: at least one."""
        return max(patches - int(patches * self.masked_ratio), 1)


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
        ValueError: ``spec`` has no such view of whole frames.
    """
    if view not in spec.whole():
        raise ValueError(f"no view {view!r} among {', '.join(spec.whole())}")
    if view == BASE:
        return rgb
    if view == FLIP:
        return np.ascontiguousarray(rgb[:, :, ::-1])
    if view in spec.cropped():
        from stages.features.cropping import crop

        return crop(rgb, video, view, spec.seed)
    from stages.features.photometric import change

    return change(rgb, Photometry.draw(video, view, spec.seed))


def kept_patches(video: str, view: str, frame: int, patches: int, spec: ViewsSpec) -> np.ndarray:
    """Which patches of a frame a masked view keeps.

    Args:
        video: its id.
        view: the masked view's name.
        frame: index of the frame in its source.
        patches: how many the frame has.
        spec: share and seed.

    Returns:
        int16 (n,): row-major positions, ascending. They depend on the arguments alone, not on batches.

    Raises:
        SettingsError: there are more patches than int16 can number.
    """
    if patches > MOST_PATCHES:
        raise SettingsError(
            f"views.masked: a frame of video {video} has {patches} patches, positions are stored for up to "
            f"{MOST_PATCHES}; choose smaller frames"
        )
    text = "\0".join((str(spec.seed), video, view, str(frame)))
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest(), "big")
    order = np.random.Generator(np.random.PCG64(seed)).random(patches).argsort(kind="stable")
    return np.sort(order[: spec.kept(patches)]).astype(np.int16)
