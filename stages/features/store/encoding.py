"""How the features of one frame are stored: as fp16, or as int8 with one factor per channel.

Whole numbers (pixels, positions of patches) are no features and are stored exactly.

int8 takes about half the bytes of fp16. Every frame is encoded by itself, so encoding streams, and each value
is off by at most half of its channel's factor, which is the channel's largest magnitude in that frame / 127.
A channel that is large everywhere costs the other channels nothing; a single token that is large in every
channel does coarsen the other tokens of its frame.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from stages.features.store.schema import SCALE_SUFFIX

Encoding = Literal["fp16", "int8"]
ENCODINGS: tuple[str, ...] = ("fp16", "int8")

EXACT = (np.dtype(np.uint8), np.dtype(np.int16))
"""Whole numbers that are stored as they are, whatever the encoding: pixels, and positions of patches."""

_FP16_EXPONENT = np.uint16(0x7C00)


def to_fp16(array: np.ndarray) -> np.ndarray:
    """``array`` as C-ordered little-endian fp16.

    Raises:
        ValueError: if it is not of floating point, is empty, or holds values that fp16 can't (NaN,
            infinities, magnitudes above 65504): a stored feature is always a finite number.
    """
    if not np.issubdtype(array.dtype, np.floating) or array.size == 0 or array.ndim == 0:
        raise ValueError(f"features are floating-point arrays, not {array.dtype} of shape {array.shape}")
    with np.errstate(over="ignore"):
        half = np.ascontiguousarray(array, dtype="<f2")
    if ((half.view("<u2") & _FP16_EXPONENT) == _FP16_EXPONENT).any():
        raise ValueError("the features hold NaN, infinities or values beyond fp16 (65504)")
    return half


def encode(array: np.ndarray, encoding: str) -> list[tuple[str, np.ndarray]]:
    """The members that hold ``array`` of one frame, as (ending of the facet's name, array).

    fp16: one member. int8, for arrays (..., D) of two or more axes: int8 values (..., D) and float32 factors
    (D,). An array of one axis (a class token) would gain nothing and stays fp16. Arrays of `EXACT` types are
    one member that holds their very values.

    Raises:
        ValueError: see `to_fp16`; an `EXACT` array is empty.
    """
    if array.dtype in EXACT and array.size and array.ndim:
        return [("", np.ascontiguousarray(array, array.dtype.newbyteorder("<")))]
    half = to_fp16(array)
    if encoding == "fp16" or half.ndim < 2:
        return [("", half)]
    values = half.astype(np.float32)
    scale = (np.abs(values).max(axis=tuple(range(values.ndim - 1))) / np.float32(127)).astype("<f4")
    divisor = np.where(scale > 0, scale, np.float32(1))
    return [("", np.rint(values / divisor).astype(np.int8)), (SCALE_SUFFIX, scale)]


def decode_int8(values: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """fp16 (T, ..., D) from int8 values (T, ..., D) and float32 factors (T, D)."""
    middle = (1,) * (values.ndim - 2)
    return (values * scale.reshape(scale.shape[0], *middle, scale.shape[1])).astype(np.float16)
