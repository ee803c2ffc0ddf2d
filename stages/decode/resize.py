"""From a decoded picture to an output frame: border crop, then one of the documented resizers.

Methods differ in their resizers and the differences are visible in features, so each is available:

* ``pil``: Pillow's bilinear with antialias, rounded to 8 bits (torchvision's ``Resize`` on PIL images);
* ``torch``: bilinear at half-pixel centres without antialias, rounded to 8 bits
  (``interpolate(mode="bilinear", align_corners=False)`` up to that rounding), computed in NumPy;
* ``cv2``: OpenCV's ``INTER_LINEAR``, the same up to its fixed-point rounding;
* ``decoder``: libswscale's bilinear, by the decoder itself where it can and nothing was cropped.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from stages.decode.decoders.base import DecoderUnavailableError, Picture

Box = tuple[int, int, int, int]
"""(top, bottom, left, right): rows and columns to cut off."""

Resizer = Callable[[Picture, int, int], Picture]


def find_borders(rgb: Picture) -> Box:
    """The black borders of one uint8 (h, w, 3) frame (SOLV's rule).

    Leading and trailing rows and columns whose mean over the rest is below 1 are borders. An all-black
    frame has none.
    """
    rows = rgb.mean(axis=(1, 2)) >= 1
    columns = rgb.mean(axis=(0, 2)) >= 1
    if not rows.any() or not columns.any():
        return 0, 0, 0, 0
    top, bottom = int(rows.argmax()), int(rows[::-1].argmax())
    left, right = int(columns.argmax()), int(columns[::-1].argmax())
    return top, bottom, left, right


def crop(rgb: Picture, box: Box) -> Picture:
    """``rgb`` without the borders ``box``: a view."""
    top, bottom, left, right = box
    return rgb[top : rgb.shape[0] - bottom, left : rgb.shape[1] - right]


def resize_pil(rgb: Picture, height: int, width: int) -> Picture:
    """Pillow's antialiased bilinear."""
    from PIL import Image

    image = Image.fromarray(np.ascontiguousarray(rgb))
    return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))


def _taps(source: int, target: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """For each output position the two neighbours at half-pixel centres, and the weight of the second."""
    centre = (np.arange(target, dtype=np.float64) + 0.5) * (source / target) - 0.5
    centre = centre.clip(0, source - 1)
    low = np.floor(centre).astype(np.int64)
    return low, np.minimum(low + 1, source - 1), (centre - low).astype(np.float32)


def resize_torch(rgb: Picture, height: int, width: int) -> Picture:
    """Bilinear without antialias, as torch computes it on floats."""
    low, high, weight = _taps(rgb.shape[0], height)
    upper, lower = rgb[low].astype(np.float32), rgb[high].astype(np.float32)
    rows = upper + (lower - upper) * weight[:, None, None]
    low, high, weight = _taps(rgb.shape[1], width)
    left, right = rows[:, low], rows[:, high]
    return np.rint(left + (right - left) * weight[None, :, None]).astype(np.uint8)


def resize_cv2(rgb: Picture, height: int, width: int) -> Picture:
    """OpenCV's ``INTER_LINEAR``."""
    try:
        import cv2
    except ImportError as error:
        raise DecoderUnavailableError(
            "decode.resizer=cv2 needs opencv-python-headless: install it"
        ) from error
    cv2.setNumThreads(1)
    return np.asarray(cv2.resize(np.ascontiguousarray(rgb), (width, height), interpolation=cv2.INTER_LINEAR))


def resize_swscale(rgb: Picture, height: int, width: int) -> Picture:
    """libswscale's bilinear on RGB."""
    from av import VideoFrame

    frame = VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24")
    return frame.reformat(width, height, "rgb24", interpolation="BILINEAR").to_ndarray()


RESIZERS: dict[str, Resizer] = {
    "pil": resize_pil,
    "torch": resize_torch,
    "cv2": resize_cv2,
    "decoder": resize_swscale,
}


def prepare(
    rgb: Picture, native: tuple[int, int], box: Box, size: tuple[int, int], resizer: Resizer
) -> Picture:
    """One output frame of ``size`` (height, width) from one upright picture.

    ``box`` was found on a picture of ``native`` size; a picture of another size is stretched to that first.
    """
    if any(box):
        rgb = crop(rgb if rgb.shape[:2] == native else resizer(rgb, *native), box)
    return rgb if rgb.shape[:2] == size else resizer(rgb, *size)
