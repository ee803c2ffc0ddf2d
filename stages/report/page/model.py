"""What a page shows, as plain data. Figures are fractions; the page shows them times 100."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Values = Mapping[str, float | None]
"""By protocol; None where no video counts."""


@dataclass(frozen=True)
class StageLine:
    """One stage of the flow: what this run made, what it found made, and the seconds all workers spent."""

    kind: str
    name: str
    folder: str
    fingerprint: str
    seconds: float
    made: int
    cached: int
    skipped: int
    rejected: int
    bytes: int
    frames: int


@dataclass(frozen=True)
class MetricRow:
    """A row of the table of figures.

    Attributes:
        candidate: what is scored.
        values: its figures.
        trained: a kind of masks of the method, and no trivial row.
        published: figures from a paper, ``source`` says which.
    """

    candidate: str
    values: Values
    trained: bool = False
    published: bool = False
    source: str = ""


@dataclass(frozen=True)
class Curve:
    """A figure over the steps of a training."""

    name: str
    points: Sequence[tuple[int, float]]


@dataclass(frozen=True)
class Overlay:
    """Tubes of one video on some of its frames.

    Attributes:
        video: its id.
        note: ``best``, ``median``, ``worst`` or nothing.
        score: its figure, with the protocol's name.
        frames: pairs of uint8 (H, W, 3) and tube numbers int (H, W), -1 for none.
        times: when each frame is, as text.
    """

    video: str
    note: str
    score: str
    frames: Sequence[tuple[np.ndarray, np.ndarray]]
    times: Sequence[str]


@dataclass(frozen=True)
class RejectLine:
    """A rejected video."""

    stage: str
    video: str
    error_class: str
    message: str


@dataclass(frozen=True)
class VideoLine:
    """A video's own figures."""

    video: str
    values: Values


@dataclass(frozen=True)
class Report:
    """The page of a run."""

    title: str
    created: str
    recipe: str
    primary: str
    stages: Sequence[StageLine] = ()
    protocols: Sequence[tuple[str, str]] = ()
    rows: Sequence[MetricRow] = ()
    curves: Sequence[Curve] = ()
    overlays: Sequence[Overlay] = ()
    rejects: Sequence[RejectLine] = ()
    config: Mapping[str, Any] = field(default_factory=dict)
    fingerprints: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()
    videos: Sequence[VideoLine] = ()
    words: Sequence[MetricRow] = ()
    """How often the CLIP that the run trains knows the right word: ``right``, ``chance``, ``majority``."""


@dataclass(frozen=True)
class ComparisonRow:
    """A candidate over several runs: means, and sample deviations where there are two or more."""

    candidate: str
    runs: int
    values: Values
    spread: Values


@dataclass(frozen=True)
class Comparison:
    """The page that compares runs."""

    title: str
    runs: Sequence[str]
    protocols: Sequence[tuple[str, str]]
    rows: Sequence[ComparisonRow]
    notes: Sequence[str] = ()
