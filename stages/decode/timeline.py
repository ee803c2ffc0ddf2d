"""When the frames of a source are shown, and which of them are sampled."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from stages.decode.spec import DecodeSpec

IntArray = NDArray[np.int64]


def _no_keys() -> IntArray:
    return np.empty((0, 2), np.int64)


@dataclass(frozen=True, eq=False)
class Timeline:
    """Presentation times of all frames of a source; a frame's index is its position in here.

    Attributes:
        pts: int64 (frames,), ascending, in ticks.
        tick: seconds per tick; None where the source has no clock (times are then frame indices).
        keys: int64 (k, 2), (pts, dts) of key frames ascending by pts; empty where seeking is of no use.
        by_order: frames carry no usable times of their own: the n-th decoded frame is frame n.
    """

    pts: IntArray
    tick: Fraction | None
    keys: IntArray = field(default_factory=_no_keys)
    by_order: bool = False

    def __len__(self) -> int:
        return len(self.pts)

    def seconds(self, index: IntArray) -> NDArray[np.float64]:
        """float64 (n,): the presentation times of the frames ``index``."""
        ticks = self.pts[index].astype(np.float64)
        return ticks if self.tick is None else ticks * self.tick.numerator / self.tick.denominator

    def sample(self, spec: DecodeSpec, start: int = 0, frames: int | None = None) -> IntArray:
        """Indices of the sampled frames of a segment, ascending, each at most once.

        Sampling happens on the whole source, so the borders of segments do not disturb its rhythm:
        ``stride=n`` keeps frames 0, n, 2n, …; ``fps`` keeps for each grid time t0 + k/fps (t0 the first
        frame's time, the grid ends at the last frame's time) the frame shown then, that is the last one
        with a time of at most half a tick later (containers round times to ticks). So frames of variable
        rate are sampled by time, and a source slower than ``fps`` keeps every frame once.
        """
        count = len(self.pts)
        stop = count if frames is None else min(count, start + frames)
        if spec.stride is not None:
            chosen = np.arange(0, count, spec.stride, dtype=np.int64)
        elif spec.fps == "all" or self.tick is None:
            chosen = np.arange(count, dtype=np.int64)
        else:
            chosen = self._on_grid(Fraction(spec.fps) * self.tick)
        return chosen[(chosen >= start) & (chosen < stop)]

    def _on_grid(self, points_per_tick: Fraction) -> IntArray:
        if not len(self.pts):
            return self.pts
        # first[i]: the first grid point at which frame i, or a later one, is shown
        ticks = (self.pts - self.pts[0]).astype(np.float64)
        rate = points_per_tick.numerator / points_per_tick.denominator
        first = np.ceil((ticks - 0.5) * rate - 1e-9)
        last_shown = np.floor((ticks[-1] + 0.5) * rate + 1e-9)
        return np.flatnonzero(np.append(first[1:], last_shown + 1) > first).astype(np.int64)
