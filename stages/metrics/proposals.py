"""What DAVIS compares with objects: masks of a video, disjoint or overlapping, read frame by frame."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from stages.metrics.foreground import border_contact, tube_areas

TooMany = Literal["largest", "error"]
Ground = Literal["none", "border", "largest"]


@dataclass(frozen=True)
class Proposals:
    """K masks of a video that may overlap.

    Attributes:
        count: K.
        shape: (T, H, W).
        read: the masks of frame ``t``, bool (K, H, W); called once or twice per frame, so 300 proposals of a
            long video need not be in memory at once.
    """

    count: int
    shape: tuple[int, int, int]
    read: Callable[[int], np.ndarray]

    @classmethod
    def of(cls, masks: np.ndarray) -> Proposals:
        """Proposals from bool (K, T, H, W).

        Raises:
            ValueError: another type or number of axes.
        """
        if masks.ndim != 4 or masks.dtype != np.bool_:
            raise ValueError(f"proposals are {masks.dtype} {masks.shape}, must be bool (K, T, H, W)")
        count, frames, height, width = masks.shape
        return cls(count, (frames, height, width), lambda t: masks[:, t])

    @classmethod
    def of_soft(
        cls, maps: Sequence[np.ndarray], shape: tuple[int, int, int], above: float = 0.3
    ) -> Proposals:
        """Proposals from soft maps on a coarse grid, as BA makes them: nearest upsampling, then a threshold.

        Args:
            maps: of each frame, float (k, h, w); k may differ, frames with fewer get empty proposals. The
                last maps also stand for frames that have none (BA's release drops the last frame).
            shape: (T, H, W) of the video.
            above: what a pixel must exceed.

        Raises:
            ValueError: there are no maps, or more than frames.
        """
        frames, height, width = shape
        if not 0 < len(maps) <= frames:
            raise ValueError(f"there are soft maps of {len(maps)} frames, the video has {frames}")
        count = max(len(found) for found in maps)

        def read(t: int) -> np.ndarray:
            soft = maps[min(t, len(maps) - 1)]
            rows = np.arange(height) * soft.shape[1] // height
            columns = np.arange(width) * soft.shape[2] // width
            masks = np.zeros((count, height, width), bool)
            masks[: len(soft)] = (soft > above)[:, rows[:, None], columns]
            return masks

        return cls(count, shape, read)

    def masks(self, t: int, numbers: Sequence[int]) -> Iterator[np.ndarray]:
        """Some masks of frame ``t``, bool (H, W), one after the other.

        Raises:
            ValueError: `read` gives something else than it should.
        """
        found = self.read(t)
        if found.shape != (self.count, *self.shape[1:]) or found.dtype != np.bool_:
            wanted = (self.count, *self.shape[1:])
            raise ValueError(f"frame {t}: proposals are {found.dtype} {found.shape}, must be bool {wanted}")
        return (found[number] for number in numbers)

    def areas(self) -> np.ndarray:
        """Pixels of each proposal over all frames, int64 (K,)."""
        areas = np.zeros(self.count, np.int64)
        for t in range(self.shape[0]):
            areas += np.count_nonzero(self.read(t), axis=(1, 2))
        return areas


@dataclass(frozen=True)
class LabelProposals:
    """The tubes 0, 1, ..., highest id of a label map as proposals; ids without a pixel are empty proposals.

    Attributes:
        labels: int (T, H, W), -1 where there is no tube.
    """

    labels: np.ndarray

    @property
    def count(self) -> int:
        """One more than the highest id."""
        return int(self.labels.max()) + 1

    def masks(self, t: int, numbers: Sequence[int]) -> Iterator[np.ndarray]:
        """See `Proposals.masks`."""
        frame = self.labels[t]
        return (frame == number for number in numbers)

    def areas(self) -> np.ndarray:
        """See `Proposals.areas`."""
        return tube_areas(self.labels)


def limited(
    proposals: Proposals | LabelProposals, most: int, too_many: TooMany = "largest", ground: Ground = "none"
) -> tuple[int, ...]:
    """Which proposals enter, rising: all but the one taken for background, at most ``most``.

    Args:
        proposals: all of them.
        most: the protocol's limit (20 official, 300 in the per-frame variants).
        too_many: what happens beyond it: the largest over the whole video stay (of equal ones those with the
            lower id), or an error as in the official scorer.
        ground: the tube left out as background without a look at the ground truth: none, the one with the
            largest `border_contact`, or the largest one. Of label maps only.

    Raises:
        ValueError: there are too many and that is an error, or ``ground`` is asked of overlapping proposals.
    """
    numbers = list(range(proposals.count))
    if ground != "none" and numbers:
        if isinstance(proposals, Proposals):
            raise ValueError(
                f"background {ground!r} is a choice among tubes, not among overlapping proposals"
            )
        weight = border_contact(proposals.labels) if ground == "border" else proposals.areas()
        numbers.remove(int(np.argmax(weight)))
    if len(numbers) <= most:
        return tuple(numbers)
    if too_many == "error":
        raise ValueError(
            f"there are {len(numbers)} proposals, the protocol allows {most}: merge or drop some"
        )
    areas = proposals.areas()
    return tuple(sorted(sorted(numbers, key=lambda number: (-areas[number], number))[:most]))
