"""Tubes united: several become one that has the pixels of all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from pycocotools import mask as coco

from stages.tubes.writer import TubeFrame


def united(
    frames: Sequence[TubeFrame],
    slots: Mapping[int, np.ndarray] | None,
    groups: Sequence[Sequence[int]],
    size: tuple[int, int],
) -> tuple[list[TubeFrame], dict[int, np.ndarray] | None]:
    """One tube per group, numbered from 0 in the order of the groups.

    Its score in a frame is the mean over the pixels of its members there, its slot vector the mean of theirs,
    each counted with its pixels over all frames.

    Args:
        frames: of all tubes.
        slots: slot vector, (d,), by tube; None where there are none.
        groups: numbers of tubes, each in one group.
        size: height and width of the frames.
    """
    number = {tube: group for group, members in enumerate(groups) for tube in members}
    cells: dict[tuple[int, int], list[TubeFrame]] = {}
    for frame in frames:
        cells.setdefault((number[frame.tube], frame.position), []).append(frame)
    found = [_united(group, position, parts, size) for (group, position), parts in sorted(cells.items())]
    if slots is None:
        return found, None
    pixels: dict[int, int] = {}
    for frame in frames:
        pixels[frame.tube] = pixels.get(frame.tube, 0) + frame.area
    vectors = {
        group: np.average([slots[t] for t in members], axis=0, weights=[pixels[t] for t in members])
        for group, members in enumerate(groups)
    }
    return found, vectors


def _united(group: int, position: int, parts: Sequence[TubeFrame], size: tuple[int, int]) -> TubeFrame:
    """The parts of one tube in one frame."""
    weights = [part.area for part in parts]
    score = float(np.average([part.score for part in parts], weights=weights))
    if len(parts) == 1:
        (part,) = parts
        return TubeFrame(group, position, part.rle, part.box, part.area, score)
    runs = coco.merge([{"size": list(size), "counts": part.rle.encode("ascii")} for part in parts])
    x, y, wide, tall = (int(side) for side in coco.toBbox(runs))
    return TubeFrame(
        group, position, runs["counts"].decode("ascii"), (x, y, wide, tall), int(coco.area(runs)), score
    )
