"""Masks as COCO's tools write them: run lengths as a list, as a compressed string, or polygons.

Run lengths go down the columns, one after the other, and begin with the length of a run outside the object.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

_OFFSET, _MORE, _SIGN, _BITS = 48, 32, 16, 5


def decode_mask(mask: Any, size: tuple[int, int]) -> np.ndarray:
    """One mask as bool (H, W).

    Args:
        mask: ``{"size": [H, W], "counts": list or string}``, or a list of polygons ``[x, y, x, y, ...]``.
        size: (H, W) of the frame in pixels.

    Raises:
        ValueError: the mask is of none of these forms, of another size, or its runs don't fill the frame.
    """
    if isinstance(mask, Mapping):
        return _from_runs(mask, size)
    if isinstance(mask, Sequence) and not isinstance(mask, str | bytes):
        return _from_polygons(mask, size)
    raise ValueError(f"a mask can't be of type {type(mask).__name__}, expected run lengths or polygons")


def _from_runs(mask: Mapping[str, Any], size: tuple[int, int]) -> np.ndarray:
    for key in ("size", "counts"):
        if key not in mask:
            raise ValueError(f"a mask has no key {key!r}")
    found, counts = mask["size"], mask["counts"]
    if not isinstance(found, list | tuple) or tuple(found) != size:
        raise ValueError(
            f"a mask has {_shown(found)} pixels, the frames have {_shown(size)} (height x width)"
        )
    if isinstance(counts, list):
        if not all(type(run) is int for run in counts):
            raise ValueError("the run lengths of a mask are not whole numbers throughout")
        runs = counts
    elif isinstance(counts, str | bytes):
        runs = _uncompressed(counts)
    else:
        raise ValueError(f"the run lengths of a mask can't be of type {type(counts).__name__}")
    if any(run < 0 for run in runs) or sum(runs) != size[0] * size[1]:
        raise ValueError(f"the run lengths of a mask don't add up to its {size[0]} x {size[1]} pixels")
    inside = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return inside.reshape(size[1], size[0]).T


def _uncompressed(counts: str | bytes) -> list[int]:
    """The run lengths in a string: groups of five bits, lowest first, from the third on as differences to
    the run before the last."""
    text = counts.encode("latin-1") if isinstance(counts, str) else bytes(counts)
    runs: list[int] = []
    value = shift = 0
    for byte in text:
        bits = byte - _OFFSET
        if not 0 <= bits < 2 * _MORE:
            raise ValueError("the compressed run lengths of a mask hold a character that can't be there")
        value |= (bits & (_MORE - 1)) << shift
        shift += _BITS
        if bits & _MORE:
            continue
        if bits & _SIGN:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    if shift:
        raise ValueError("the compressed run lengths of a mask end within a number")
    return runs


def _from_polygons(polygons: Sequence[Any], size: tuple[int, int]) -> np.ndarray:
    from pycocotools import mask as coco

    try:
        outlines = [[float(v) for v in polygon] for polygon in polygons]
    except (TypeError, ValueError) as error:
        raise ValueError(f"a polygon is no list of numbers: {error}") from error
    if any(len(outline) < 6 or len(outline) % 2 for outline in outlines):
        raise ValueError("a polygon needs three points or more, as x, y, x, y, ...")
    if not outlines:
        return np.zeros(size, bool)
    # outlines are drawn point by point: far outside the frame that would take for ever
    side = float(max(size))
    if not all(-side <= v <= 2 * side for outline in outlines for v in outline):
        raise ValueError("a polygon lies far outside its frame, or has a coordinate that is no number")
    found = coco.decode(coco.merge(coco.frPyObjects(outlines, *size)))
    return np.asarray(found, bool)


def _shown(size: Any) -> str:
    return " x ".join(str(side) for side in size) if isinstance(size, list | tuple) else repr(size)
