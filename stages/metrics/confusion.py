"""The confusion tensor of a video: the one pass over pixels that feeds every ARI and IoU protocol."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

NO_TUBE = -1
"""In a predicted label map: no tube covers the pixel."""
BACKGROUND = 0
"""In a ground truth: the pixel belongs to no object."""
_WIDEST_TABLE = 1 << 20
"""Largest id span for which ids are found and renumbered by a table instead of by sorting."""


@dataclass(frozen=True)
class Confusion:
    """How many pixels of a video have which object and which tube, frame by frame; void pixels left out.

    Attributes:
        objects: ids of the G objects, rising, without the background.
        tubes: ids of the K tubes, rising, without `NO_TUBE`.
        counts: int64 (T, 1 + G, 1 + K); row 0 is the background, column 0 are pixels without a tube.
    """

    objects: tuple[int, ...]
    tubes: tuple[int, ...]
    counts: np.ndarray

    @property
    def truth_areas(self) -> np.ndarray:
        """Pixels of every object, int64 (T, G)."""
        return self.counts[:, 1:].sum(axis=2)

    @property
    def tube_areas(self) -> np.ndarray:
        """Pixels of every tube, int64 (T, K)."""
        return self.counts[:, :, 1:].sum(axis=1)

    @property
    def intersections(self) -> np.ndarray:
        """Pixels that an object and a tube share, int64 (T, G, K)."""
        return self.counts[:, 1:, 1:]

    def keep(self, objects: Sequence[int]) -> Confusion:
        """The same video where all but ``objects`` (a part of `objects`, rising) are background."""
        kept = [1 + self.objects.index(number) for number in objects]
        others = [row for row in range(self.counts.shape[1]) if row not in kept]
        ground = self.counts[:, others].sum(axis=1, keepdims=True)
        return Confusion(tuple(objects), self.tubes, np.concatenate([ground, self.counts[:, kept]], axis=1))

    def frames(self, start: int, stop: int) -> Confusion:
        """Frames ``start`` to ``stop`` as a video of their own, without the objects and tubes it lacks."""
        counts = self.counts[start:stop]
        rows = np.flatnonzero(counts.sum(axis=(0, 2))[1:])
        columns = np.flatnonzero(counts.sum(axis=(0, 1))[1:])
        return Confusion(
            tuple(self.objects[i] for i in rows),
            tuple(self.tubes[i] for i in columns),
            counts[:, np.r_[0, rows + 1]][:, :, np.r_[0, columns + 1]],
        )


def confusion(prediction: np.ndarray, truth: np.ndarray, void: np.ndarray | None = None) -> Confusion:
    """Count a whole video. Works frame by frame, so its temporaries are a frame's, not a video's.

    Args:
        prediction: tube ids, int (T, H, W), `NO_TUBE` where there is none. Ids may have gaps.
        truth: object ids, int (T, H, W), `BACKGROUND` where there is none. Ids may have gaps.
        void: bool (T, H, W), pixels that count nowhere; an object that only has such pixels isn't there.

    Raises:
        ValueError: the maps differ in shape, are not (T, H, W), hold no pixels, aren't integers, or have ids
            below `NO_TUBE` or `BACKGROUND`.
    """
    check(prediction, truth, void)
    tubes, objects = _Numbering.of(prediction, NO_TUBE), _Numbering.of(truth, BACKGROUND)
    width = 1 + len(tubes.ids)
    bins = width * (1 + len(objects.ids))
    counts = np.empty((len(truth), bins), np.int64)
    for t in range(len(truth)):
        cells = objects.apply(truth[t])
        cells *= width
        cells += tubes.apply(prediction[t])
        counts[t] = np.bincount(cells.ravel() if void is None else cells[~void[t]], minlength=bins)
    found = Confusion(objects.ids, tubes.ids, counts.reshape(len(truth), -1, width))
    return found if void is None else found.frames(0, len(truth))


def check(prediction: np.ndarray, truth: np.ndarray, void: np.ndarray | None = None) -> None:
    """See `confusion` for what is asked of label maps.

    Raises:
        ValueError: they are something else.
    """
    check_maps("the prediction", prediction, truth.shape, NO_TUBE)
    check_maps("the ground truth", truth, truth.shape, BACKGROUND)
    if void is not None and (void.shape != truth.shape or void.dtype != np.bool_):
        raise ValueError(
            f"void is {void.dtype} {void.shape}, the ground truth is {truth.shape}: void must be a bool map "
            "of the same frames and size"
        )


def check_maps(what: str, maps: np.ndarray, shape: tuple[int, ...], lowest: int) -> None:
    """Raise ValueError unless ``maps`` are integers (T, H, W) of ``shape``, none below ``lowest``."""
    if maps.ndim != 3 or not maps.size:
        raise ValueError(f"{what} has the shape {maps.shape}, must be (T, H, W) with at least one pixel")
    if maps.shape != shape:
        raise ValueError(
            f"{what} has {_size(maps.shape)}, the ground truth has {_size(shape)}: both must show the same "
            "frames at the same size"
        )
    if not np.issubdtype(maps.dtype, np.integer):
        raise ValueError(f"{what} is {maps.dtype}, must be integer ids")
    if maps.min() < lowest:
        raise ValueError(f"{what} has the id {maps.min()}, the lowest that means something is {lowest}")


def _size(shape: tuple[int, ...]) -> str:
    if len(shape) != 3:
        return f"the shape {shape}"
    return f"{shape[0]} frames of {shape[1]} x {shape[2]}"


@dataclass(frozen=True)
class _Numbering:
    """Ids of a map in rising order; `apply` gives ``empty`` the number 0 and them 1, 2, ..."""

    ids: tuple[int, ...]
    empty: int
    table: np.ndarray | None

    @classmethod
    def of(cls, maps: np.ndarray, empty: int) -> _Numbering:
        span = int(maps.max()) - empty + 1
        if span > _WIDEST_TABLE:
            found = sorted({int(i) for frame in maps for i in np.unique(frame)} - {empty})
            return cls(tuple(found), empty, None)
        seen = np.zeros(span, bool)
        for frame in maps:
            seen[frame.astype(np.int64) - empty] = True
        seen[0] = False
        ids = np.flatnonzero(seen)
        table = np.zeros(span, np.int64)
        table[ids] = np.arange(1, len(ids) + 1)
        return cls(tuple(int(i) + empty for i in ids), empty, table)

    def apply(self, frame: np.ndarray) -> np.ndarray:
        """Numbers, int64 (H, W), as a fresh array."""
        if self.table is not None:
            return self.table[frame.astype(np.int64) - self.empty]
        return np.where(frame == self.empty, 0, np.searchsorted(np.array(self.ids), frame) + 1)
