"""What decoding gives: chunks of frames, and what a probe found out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class FrameChunk:
    """Up to ``chunk`` consecutive sampled frames; only the last chunk of a video is shorter.

    Attributes:
        index: int64 (n,), positions among the source's frames in presentation order.
        pts: float64 (n,), presentation times in seconds as stored (a stream may start at any time).
        rgb: uint8 (n, h, w, 3), upright, cropped and resized.
    """

    index: NDArray[np.int64]
    pts: NDArray[np.float64]
    rgb: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.index)


@dataclass(frozen=True)
class Probe:
    """What a file or a folder of images holds, found by demuxing and decoding its first frame.

    Attributes:
        frames: frames in presentation order, counted by demuxing and never taken from a header.
        fps: mean rate, ``(frames - 1) / (last time - first time)``; None for a folder of images and where
            a single frame comes without a rate.
        height: rows as stored, before rotation.
        width: columns as stored, before rotation.
        rotation: clockwise degrees to apply for display: 0, 90, 180 or 270.
        codec: name of the codec, ``images`` for a folder.
        container: ffmpeg's name of the container, ``images`` for a folder.
        start: presentation time of the first frame in seconds.
        duration: seconds from the first frame to the last one.
    """

    frames: int
    fps: float | None
    height: int
    width: int
    rotation: int
    codec: str
    container: str
    start: float
    duration: float
