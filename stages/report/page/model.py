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
class TubeLine:
    """A named tube of one video.

    Attributes:
        tube: its number, which overlays know it by.
        frames: in how many it has pixels.
        label: its name, or ``unnamed``.
        score: the name's probability; None where no name fits.
        top: the best names and their probabilities, falling.
        members: numbers of the tubes that it was merged from.
        background: the name of background that fits better than any target, else empty.
    """

    tube: int
    frames: int
    label: str
    score: float | None = None
    top: Sequence[tuple[str, float]] = ()
    members: Sequence[int] = ()
    background: str = ""


@dataclass(frozen=True)
class LabelLine:
    """A name in the whole corpus: its tubes, the videos that have one, the frames of all of them."""

    label: str
    tubes: int
    videos: int
    frames: int
    score: float | None
    """Mean probability."""


@dataclass(frozen=True)
class Naming:
    """The names of a corpus and where they come from.

    Attributes:
        labels: most tubes first.
        videos: how many there are.
        facts: what named and what found the tubes, in order.
        warning: what must be told about the weights.
    """

    labels: Sequence[LabelLine]
    videos: int
    facts: Sequence[tuple[str, str]] = ()
    warning: str | None = None


@dataclass(frozen=True)
class Overlay:
    """Tubes of one video on some of its frames.

    Attributes:
        video: its id.
        note: ``best``, ``median``, ``worst`` or nothing.
        score: its figure, with the protocol's name.
        frames: pairs of uint8 (H, W, 3) and tube numbers int (H, W), -1 for none.
        times: when each frame is, as text.
        tubes: where they have names, largest first.
    """

    video: str
    note: str
    score: str
    frames: Sequence[tuple[np.ndarray, np.ndarray]]
    times: Sequence[str]
    tubes: Sequence[TubeLine] = ()


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
    naming: Naming | None = None
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
