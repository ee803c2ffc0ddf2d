"""A video being scored: what protocols share is computed once, and only if one of them asks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from stages.metrics.proposals import Ground, Proposals, TooMany

if TYPE_CHECKING:
    from stages.metrics.confusion import Confusion
    from stages.metrics.davis import DavisResult
    from stages.metrics.solv import SolvResult

CHUNK = 6
"""Frames of a chunk in ``@videosaur-chunk6``."""


@dataclass(frozen=True)
class ScoreOptions:
    """Variants inside protocols; the defaults are what docs/metrics.md describes under each name.

    Attributes:
        id_gap_bug: ``@solv`` takes a tube's place in the list of ids for its id, as the released evaluator.
        drop_single: ``fgari@solv``, ``fgari@frame`` and ``fgari@videosaur-*`` leave frames (or chunks) with a
            single object out, which are all or nothing.
        too_many: more proposals than ``@davis17u*`` allows: the largest enter, or an error as officially.
        ground: the tube that ``@davis17u`` leaves out as background without a look at the truth.
        decay_uint8_bug: ``jdecay`` and ``fdecay`` as the official scorer computes them beyond 256 frames.
    """

    id_gap_bug: bool = False
    drop_single: bool = False
    too_many: TooMany = "largest"
    ground: Ground = "none"
    decay_uint8_bug: bool = False


DEFAULTS = ScoreOptions()


class Video:
    """One video to score. What several protocols share is computed once, when first asked for."""

    def __init__(
        self,
        prediction: np.ndarray | Proposals,
        truth: np.ndarray,
        void: np.ndarray | None,
        options: ScoreOptions,
    ) -> None:
        self.prediction, self.truth, self.void, self.options = prediction, truth, void, options

    @property
    def labels(self) -> np.ndarray:
        """The predicted label map, int (T, H, W)."""
        assert isinstance(self.prediction, np.ndarray)
        return self.prediction

    @cached_property
    def confusion(self) -> Confusion:
        """All pixels counted."""
        from stages.metrics.confusion import confusion

        return confusion(self.labels, self.truth, self.void)

    @cached_property
    def chunks(self) -> list[Confusion]:
        """VideoSAUR's chunks of 6 frames that show an object; a last one that is shorter is left out.

        A video of fewer frames is one chunk.
        """
        length = min(CHUNK, len(self.truth))
        starts = range(0, len(self.truth) - length + 1, length)
        found: list[Confusion] = [self.confusion.frames(start, start + length) for start in starts]
        return [chunk for chunk in found if chunk.objects]

    @cached_property
    def solv(self) -> SolvResult | None:
        """SOLV's evaluator."""
        from stages.metrics.solv import evaluate

        return evaluate(self.confusion, self.options.id_gap_bug, self.options.drop_single)

    @cached_property
    def davis17u(self) -> DavisResult | None:
        """The official unsupervised scorer."""
        from stages.metrics.davis import unsupervised

        given = self.options
        return unsupervised(self.labels, self.truth, self.void, given.too_many, given.ground)

    @cached_property
    def davis17u_perframe(self) -> DavisResult | None:
        """The scorer of SMTC and BA."""
        from stages.metrics.davis import unsupervised_per_frame

        return unsupervised_per_frame(self.prediction, self.truth, self.void, self.options.too_many)

    @cached_property
    def davis17s(self) -> DavisResult | None:
        """The official semi-supervised scorer; it knows no void."""
        from stages.metrics.davis import semi_supervised

        return semi_supervised(self.labels, self.truth)
