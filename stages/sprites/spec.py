"""What clips to generate: a level of difficulty, and knobs that change single aspects of it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from typing import Any, Literal

GENERATOR_VERSION = 2
"""Raised whenever the same spec starts to give other pixels."""

Occlusion = Literal["none", "free", "forced"]
Range = tuple[float, float]


@dataclass(frozen=True)
class Knobs:
    """Everything that shapes a clip, resolved. Lengths are pixels, times are frames."""

    objects: tuple[int, int] = (3, 6)
    """Fewest and most objects of a clip, within 1..12."""
    object_size: Range = (0.25, 0.4)
    """Smallest and largest diameter of an object, as a share of the frame's short side, within 0.05..1."""
    speed: Range = (1.0, 3.0)
    """Slowest and fastest object, in pixels per frame."""
    textured: bool = True
    """Value noise on objects and background, of the same spatial frequency; else flat colours."""
    shared_palette: float = 0.0
    """Share of the objects that have the background's two colours (camouflage); the others have their own."""
    pan: Range = (0.0, 0.0)
    """Slowest and fastest camera, in pixels per frame. It moves the background; objects move in the frame."""
    spin: float = 2.0
    """Fastest rotation of an object, in degrees per frame."""
    scale: float = 0.0
    """Largest relative change of an object's size, up and down."""
    occlusion: Occlusion = "free"
    """``none``: each object stays in a cell of its own; ``free``: as it comes; ``forced``: two cross."""
    enter_leave: bool = False
    """Some objects enter, some leave, some leave and come back; at least one does."""
    twins: bool = False
    """Two objects look the same and cross half-way through the clip, where one hides the other."""
    bounce: bool = True
    """Objects turn back at the border of the frame; else they drift on."""
    parallax: bool = False
    """A near layer of the background moves with the camera and the rest at half its speed."""
    motion_blur: float = 0.0
    """How long the shutter stays open, as a share of the frame interval. Masks and flow are of its start."""
    lighting: float = 0.0
    """Largest relative change of brightness over the clip."""
    distractors: bool = False
    """A patch of the background changes its texture half-way, without being an object."""
    cut: bool = False
    """The scene is replaced by another one, with other objects, half-way. Flow across the cut is NaN."""

    def least_objects(self) -> int:
        """How many objects the knobs need: a pair that crosses, one that enters or leaves."""
        return max(1, 2 * (self.twins or self.occlusion == "forced") + self.enter_leave)


LEVELS: dict[str, Knobs] = {
    "L0": Knobs(textured=False),
    "L1": Knobs(),
    "L2": Knobs(pan=(1.0, 3.0)),
    "L3": Knobs(shared_palette=1.0),
    "L4": Knobs(shared_palette=1.0, pan=(1.0, 3.0), objects=(5, 8), object_size=(0.2, 0.28)),
}
"""Flat; textured; with a moving camera; camouflaged; camouflaged, small and many, with a moving camera."""


@dataclass(frozen=True)
class SpritesSpec:
    """A set of clips, each addressed by its index. A knob that is None is the level's; see `Knobs`.

    Raises:
        ValueError: a value out of its range, named with the range.
    """

    level: Literal["L0", "L1", "L2", "L3", "L4"] = "L2"
    """Difficulty: flat; textured; with a moving camera; camouflaged; camouflaged, small, many and moving."""
    count: int = 64
    """Number of clips. More of them extend the set; the others stay the same."""
    seed: int = 0
    """Other seeds give other clips, the same seed the same bytes."""
    size: tuple[int, int] = (64, 64)
    """Height and width of a frame in pixels; even, at least 16."""
    frames: int = 8
    """Frames of a clip, at least 2."""
    fps: float = 8.0
    """Frames per second in the files."""
    objects: tuple[int, int] | None = None
    object_size: Range | None = None
    speed: Range | None = None
    textured: bool | None = None
    shared_palette: float | None = None
    pan: Range | None = None
    spin: float | None = None
    scale: float | None = None
    occlusion: Occlusion | None = None
    enter_leave: bool | None = None
    twins: bool | None = None
    bounce: bool | None = None
    parallax: bool | None = None
    motion_blur: float | None = None
    lighting: float | None = None
    distractors: bool | None = None
    cut: bool | None = None

    def __post_init__(self) -> None:
        if self.level not in LEVELS:
            raise ValueError(f"sprites.level={self.level!r} is none of {', '.join(LEVELS)}")
        _check(self, "count", self.count >= 1, "at least 1")
        _check(self, "seed", self.seed >= 0, "at least 0")
        _check(self, "frames", self.frames >= 2, "at least 2")
        _check(self, "fps", 0 < self.fps <= 1000, "above 0 and at most 1000")
        even = len(self.size) == 2 and all(side >= 16 and side % 2 == 0 for side in self.size)
        _check(self, "size", even, "(height, width), both even and at least 16")
        _check_knobs(self.knobs())

    def knobs(self) -> Knobs:
        """The level's knobs with those of this spec that are set in their place."""
        own = {f.name: getattr(self, f.name) for f in dataclasses.fields(Knobs)}
        return dataclasses.replace(LEVELS[self.level], **{k: v for k, v in own.items() if v is not None})

    def digest(self) -> str:
        """Eight hex digits that tell sets with different clips apart; ``count`` does not matter."""
        fields: dict[str, Any] = {"version": GENERATOR_VERSION, **dataclasses.asdict(self.knobs())}
        fields |= {"seed": self.seed, "size": self.size, "frames": self.frames, "fps": float(self.fps)}
        fields = {k: [float(x) for x in v] if isinstance(v, (tuple, list)) else v for k, v in fields.items()}
        text = json.dumps(fields, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:8]


def _check(owner: object, name: str, holds: bool, wanted: str) -> None:
    if not holds:
        raise ValueError(f"sprites.{name}={getattr(owner, name)} must be {wanted}")


def _check_knobs(knobs: Knobs) -> None:
    low, high = knobs.objects
    _check(knobs, "objects", 1 <= low <= high <= 12, "(fewest, most), within 1..12")
    small, large = knobs.object_size
    _check(knobs, "object_size", 0.05 <= small <= large <= 1, "within 0.05..1")
    for name in ("speed", "pan"):
        slow, fast = getattr(knobs, name)
        _check(knobs, name, 0 <= slow <= fast < float("inf"), "(slowest, fastest), not negative")
    for name, most in (("shared_palette", 1.0), ("scale", 0.5), ("motion_blur", 1.0), ("lighting", 0.9)):
        _check(knobs, name, 0 <= getattr(knobs, name) <= most, f"within 0..{most}")
    _check(knobs, "spin", 0 <= knobs.spin <= 90, "within 0..90")
    _check(knobs, "occlusion", knobs.occlusion in ("none", "free", "forced"), "none, free or forced")
    if knobs.shared_palette and not knobs.textured:
        raise ValueError(
            "sprites.shared_palette needs sprites.textured: flat objects of one colour can't be seen"
        )
    if knobs.occlusion == "none" and (knobs.twins or knobs.enter_leave):
        raise ValueError(
            "sprites.occlusion=none can't be had with twins or enter_leave, whose paths cross others"
        )
    if high < knobs.least_objects():
        raise ValueError(
            f"sprites.objects must allow {knobs.least_objects()} for twins, crossing and entering objects"
        )
    if knobs.parallax and not knobs.pan[1]:
        raise ValueError("sprites.parallax needs sprites.pan above 0: without it no layer moves")
    if knobs.distractors and not knobs.textured:
        raise ValueError(
            "sprites.distractors needs sprites.textured: a flat background has no texture to change"
        )
