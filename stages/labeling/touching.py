"""Which tubes of a video touch, found frame by frame, so that long videos need little memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from stages.labeling.merging import touching
from stages.stage import Row
from stages.tubes.patches import patch_masks

Layout = tuple[tuple[int, int], tuple[int, int, int, int], tuple[int, int]]
"""Size of the upright frame, its borders (top, bottom, left, right), and rows and columns of patches."""


def touching_tubes(
    frames: Sequence[int],
    by_frame: Mapping[int, Sequence[Row]],
    numbers: Sequence[int],
    layout: Layout,
    adjacency: str,
    clip: int,
) -> np.ndarray:
    """Which tubes have patches that touch, bool (M, M); see `stages.labeling.merging.touching`.

    Args:
        frames: the stored ones, rising.
        by_frame: rows with ``tube`` and ``rle`` of frames that have tubes.
        numbers: the M tubes.
        layout: of frames and patches.
        adjacency: see `stages.labeling.merging.Adjacency`.
        clip: frames of a clip, across whose ends nothing touches; 0: the video is one.
    """
    places = {number: place for place, number in enumerate(numbers)}
    found = np.zeros((len(numbers), len(numbers)), bool)
    before: tuple[list[int], np.ndarray] | None = None
    for position, frame in enumerate(frames):
        rows = by_frame.get(frame, ())
        here = [places[row["tube"]] for row in rows]
        masks = patch_masks([row["rle"] for row in rows], *layout)
        if clip and position % clip == 0:
            before = None
        both = here if before is None else sorted({*here, *before[0]})
        pair = np.zeros((len(both), 1 if before is None else 2, *layout[2]), bool)
        pair[[both.index(i) for i in here], -1] = masks
        if before is not None:
            pair[[both.index(i) for i in before[0]], 0] = before[1]
        found[np.ix_(both, both)] |= touching(pair, adjacency)
        before = (here, masks)
    return found


def tubes_by_clip(
    frames: Sequence[int], by_frame: Mapping[int, Sequence[Row]], numbers: Sequence[int], clip: int
) -> Iterator[list[int]]:
    """Places of the tubes (among ``numbers``) that are in each clip; clips without one are left out. A tube
    that goes on from clip to clip is in all of them. Arguments are those of `touching_tubes`.
    """
    places = {number: place for place, number in enumerate(numbers)}
    clips: dict[int, set[int]] = {}
    for position, frame in enumerate(frames):
        here = {places[row["tube"]] for row in by_frame.get(frame, ())}
        clips.setdefault(position // clip if clip else 0, set()).update(here)
    yield from (sorted(members) for _, members in sorted(clips.items()) if members)
