"""Which clips the batches of a training hold; on grids of different sizes every batch has one of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import cycle, islice

import numpy as np

from stages.features.store.samplers import Clip, ClipSampler

Grids = Mapping[str, tuple[int, int]]
"""Rows and columns of patches by video."""


class BatchOrder:
    """The endless batches of a sampler's epochs, of all processes together.

    Where all videos have the same grid, epochs follow each other clip by clip, and a batch may belong to two
    of them. Else an epoch's clips are parted by grid, in the sampler's order; each grid fills batches of its
    own, the last one up with the grid's first clips again; and the batches come in an order that depends on
    the sampler's seed and the epoch alone. So an epoch has every clip, and a few of them twice or more.

    Args:
        sampler: which clips; its epoch and step are set.
        batch: clips per batch.
        grids: of all its videos; None: there is one.
    """

    def __init__(self, sampler: ClipSampler, batch: int, grids: Grids | None = None) -> None:
        self._sampler, self._batch, self._grids = sampler, batch, grids or {}
        counts: Counter[tuple[int, int] | None] = Counter()
        for video, clips in sampler.clips_by_video():
            counts[self._grids.get(video)] += clips
        self._mixed = len(counts) > 1
        whole = sum(-(-clips // batch) * batch for clips in counts.values())
        self.clips = whole if self._mixed else len(sampler)
        """Clips per epoch, those that come again included."""

    def batches(self, seen: int = 0) -> Iterator[list[Clip]]:
        """The batches that follow on ``seen`` clips; on several grids that is a multiple of the batch."""
        if not self._mixed:
            clips = self._endless(seen)
            while True:
                yield list(islice(clips, self._batch))
        epoch, done = divmod(seen, self.clips)
        while True:
            yield from self._by_grid(epoch)[done // self._batch :]
            epoch, done = epoch + 1, 0

    def _endless(self, seen: int) -> Iterator[Clip]:
        self._sampler.epoch, self._sampler.step = divmod(seen, len(self._sampler))
        while True:
            yield from self._sampler
            self._sampler.epoch, self._sampler.step = self._sampler.epoch + 1, 0

    def _by_grid(self, epoch: int) -> list[list[Clip]]:
        """All batches of an epoch."""
        self._sampler.epoch, self._sampler.step = epoch, 0
        parts: dict[tuple[int, int], list[Clip]] = {}
        for clip in self._sampler:
            parts.setdefault(self._grids[clip.video], []).append(clip)
        batches = []
        for _, clips in sorted(parts.items()):
            endless = cycle(clips)
            batches += [list(islice(endless, self._batch)) for _ in range(-(-len(clips) // self._batch))]
        order = np.random.Generator(np.random.PCG64([self._sampler.seed, epoch, 1])).permutation(len(batches))
        return [batches[i] for i in order]
