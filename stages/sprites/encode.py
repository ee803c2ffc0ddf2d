"""Frames into an H.264 file that any player opens, with always the same bytes."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

CRF = 14
"""Constant rate factor of x264: 18 is seen as visually lossless, lower is better."""
_BT601 = 6
_LIMITED_RANGE = 1


def write_h264(path: Path, rgb: NDArray[np.uint8], fps: float, crf: int = CRF) -> None:
    """Write frames, uint8 (T, H, W, 3) with even H and W, as H.264 4:2:0 in an MP4 file.

    One thread, no B-frames (so no edit list), and neither times nor versions of the muxer in the file: the
    same frames give the same bytes with the same libraries.

    Raises:
        OSError: the file can't be written (as `av.error.FFmpegError`).
    """
    rate = Fraction(fps).limit_denominator(1001)
    options = {"fflags": "+bitexact", "movflags": "+faststart"}
    with av.open(str(path), "w", format="mp4", options=options) as container:
        stream = container.add_stream("libx264", rate=rate)
        stream.height, stream.width = rgb.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.options = {
            "crf": str(crf),
            "preset": "medium",
            "bf": "0",
            "threads": "1",
            "flags": "+bitexact",
            # With its assembly x264 (build 165) now and then reads memory it has not written: once in some
            # hundred small clips the last macroblock differs from one call to the next.
            "x264-params": "asm=0",
        }
        context = stream.codec_context
        context.color_range, context.colorspace = _LIMITED_RANGE, _BT601
        context.color_primaries = context.color_trc = _BT601
        for picture in rgb:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
