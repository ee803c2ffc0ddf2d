"""What decoding is asked for: settings that decide its result, and one request.

Plans read this module, so it imports nothing but the standard library.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

BUILTIN_DECODERS = ("auto", "decord", "pyav", "images")


@dataclass(frozen=True)
class DecodeSpec:
    """Settings of decoding that decide the result.

    Raises:
        ValueError: for a rate or stride that isn't positive, or a decoder that can't be named like that.
    """

    decoder: str = "auto"
    """``auto``, ``decord``, ``pyav``, ``images`` or ``package.module:Class``.

    ``auto`` is decord where it opens the file, agrees with the demuxed stream and can't outgrow its memory,
    PyAV elsewhere. A folder is always read by ``images``, except by a registered class.
    """
    fps: float | Literal["all"] = 5.0
    """Sampled frames per second of presentation time; ``all`` keeps every frame."""
    stride: int | None = None
    """Every n-th frame of the source; set, it takes the place of ``fps``."""
    crop: Literal["none", "borders"] = "none"
    """``borders`` cuts the black borders of the source's first frame off all its frames."""
    resizer: Literal["pil", "torch", "cv2", "decoder"] = "pil"
    """``pil``: bilinear with antialias; ``torch``, ``cv2``: bilinear without; ``decoder``: by swscale."""

    def __post_init__(self) -> None:
        if self.fps != "all" and not (isinstance(self.fps, (int, float)) and 0 < self.fps < math.inf):
            raise ValueError(f"decode.fps must be a positive number or 'all', not {self.fps!r}")
        if self.stride is not None and self.stride < 1:
            raise ValueError(f"decode.stride must be at least 1, not {self.stride}")
        if self.decoder not in BUILTIN_DECODERS and not _is_import_path(self.decoder):
            raise ValueError(
                f"decode.decoder must be one of {', '.join(BUILTIN_DECODERS)} or 'package.module:Class', "
                f"not {self.decoder!r}"
            )


def _is_import_path(text: str) -> bool:
    module, colon, name = text.partition(":")
    return bool(colon) and name.isidentifier() and all(part.isidentifier() for part in module.split("."))


@dataclass(frozen=True)
class Geometry:
    """Output size of frames, computed from the upright and cropped source frame."""

    size: tuple[int, int] | int | None = None
    """``(height, width)`` stretches; an integer is the short side, aspect kept; None keeps the size."""
    multiple: int = 1
    """Both sides are then rounded down to a multiple of this (at least one multiple)."""

    def __post_init__(self) -> None:
        sides = self.size if isinstance(self.size, (tuple, list)) else (self.size,)
        if self.multiple < 1 or any(side is not None and side < 1 for side in sides):
            raise ValueError(f"sizes and multiples must be positive, not {self.size} and {self.multiple}")

    def resolve(self, height: int, width: int) -> tuple[int, int]:
        """The output ``(height, width)`` in pixels for a source of that size.

        The long side is rounded down when the aspect is kept, as torchvision's ``Resize`` does.
        """
        if self.size is None:
            sides = (height, width)
        elif isinstance(self.size, int):
            short = min(height, width)
            sides = (self.size * height // short, self.size * width // short)
        else:
            sides = (self.size[0], self.size[1])
        m = self.multiple
        return max(m, sides[0] // m * m), max(m, sides[1] // m * m)


@dataclass(frozen=True)
class DecodeRequest:
    """One video, or one segment of a longer file, to be decoded."""

    key: str
    """Video id: for messages, and to count attempts."""
    path: str
    """A file, or a folder of images."""
    start: int = 0
    """First source frame of the segment, counted in presentation order."""
    frames: int | None = None
    """Length of the segment in source frames; None: to the end."""
    clock: float | None = None
    """Frames per second of an image folder. Without one its times are frame indices and ``fps`` keeps all."""
    spec: DecodeSpec = field(default_factory=DecodeSpec)
    geometry: Geometry = field(default_factory=Geometry)
    chunk: int = 8
    """Frames per `FrameChunk`."""

    def __post_init__(self) -> None:
        if self.chunk < 1 or self.start < 0 or (self.frames is not None and self.frames < 0):
            raise ValueError(f"impossible segment of {self.key}: {self.start}, {self.frames}, {self.chunk}")


def expected_frames(
    row_frames: int, row_fps: float | None, spec: DecodeSpec, clock: float | None = None
) -> int:
    """About how many frames are sampled from a segment of ``row_frames`` source frames: for plans only."""
    if row_frames <= 0:
        return 0
    if spec.stride is not None:
        return -(-row_frames // spec.stride)
    rate = clock or row_fps
    if spec.fps == "all" or not rate or rate <= 0:
        return row_frames
    return min(row_frames, max(1, math.ceil(row_frames * float(spec.fps) / rate)))
