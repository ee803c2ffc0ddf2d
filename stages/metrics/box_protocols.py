"""The named protocols on boxes and on tubes: what `stages.metrics.protocols` is for label maps.

Their figures are no means of the videos' figures: frames, objects, boxes or ranked detections of the whole
data set count together. So a video gives `Evidence`, a table of numbers that can be stored, and the figure is
made of the tables of all videos, one after the other. Plans import this module: pycocotools is imported
where it is used.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Literal

import numpy as np

from stages.metrics import corloc, slot_types, tube_ap, words
from stages.metrics.average_precision import Matched, match_boxes, mean_ap
from stages.metrics.boxes import BoxFrame
from stages.metrics.tube_ap import ALL, LARGE, MEDIUM, SMALL, Area, Tube

Takes = Literal["boxes", "tubes", "words"]


@dataclass(frozen=True)
class FoundVideo:
    """A video with what was found and what is annotated; only what the wanted protocols take need be given.

    Attributes:
        frames: boxes of every frame, for protocols that take boxes; frames without an object too.
        found: tubes with scores, for protocols that take tubes.
        truth: annotated objects, for the same.
        called: boxes of every frame with their names, for protocols that take words.
        names: the vocabulary that names come from, for the same.
    """

    frames: Sequence[BoxFrame] = ()
    found: Sequence[Tube] = ()
    truth: Sequence[Tube] = ()
    called: Sequence[words.WordFrame] = ()
    names: Sequence[str] = ()

    @cached_property
    def matched(self) -> Matched:
        """Tubes matched with objects of all sizes."""
        return self.matched_within(ALL)

    def matched_within(self, area: Area) -> Matched:
        """Tubes matched with objects whose mean area is within ``area``."""
        return tube_ap.match_tubes(self.found, self.truth, area)


@dataclass(frozen=True)
class BoxProtocol:
    """A named protocol.

    Attributes:
        name: ``metric@definition``.
        help: one line: what counts, and how.
        takes: which part of a `FoundVideo`.
        rows: the evidence of one video, float64 (rows, columns).
        figure: of the rows of all videos in their order, a fraction; None where nothing counts.
        names: whether it asks what boxes are called, so that nameless ones can't be compared in it.
    """

    name: str
    help: str
    takes: Takes
    rows: Callable[[FoundVideo], np.ndarray]
    figure: Callable[[np.ndarray], float | None]
    names: bool = False


@dataclass(frozen=True)
class Evidence:
    """What a video gives to a protocol.

    Attributes:
        protocol: its name.
        value: the figure of this video alone, a fraction; None where it has detections and no object to find.
        rows: for the figure of the data set, float64 (rows, columns), one row or more.
    """

    protocol: str
    value: float | None
    rows: np.ndarray


def gather(names: Sequence[str], video: FoundVideo) -> list[Evidence]:
    """What one video gives to several protocols, in the order of ``names``; nothing where it doesn't count.

    Args:
        names: of `BOX_PROTOCOLS`.
        video: with what those protocols take.

    Raises:
        ValueError: there is no such protocol, or tubes don't fit together (see `tube_ap.match_tubes`).
    """
    found = []
    for name in names:
        if name not in BOX_PROTOCOLS:
            raise ValueError(f"there is no protocol {name!r} on boxes; there are {', '.join(BOX_PROTOCOLS)}")
        rows = BOX_PROTOCOLS[name].rows(video)
        if len(rows):
            found.append(Evidence(name, BOX_PROTOCOLS[name].figure(rows), rows))
    return found


def pooled(protocol: str, videos: Sequence[np.ndarray]) -> float | None:
    """The data set's figure, a fraction; None where nothing counts.

    Args:
        protocol: its name.
        videos: ``rows`` of the evidence of each video; of detections with equal scores those of earlier
            videos rank first, so the order should be a fixed one.
    """
    return BOX_PROTOCOLS[protocol].figure(np.concatenate(videos)) if videos else None


_KEPT = [0, 1, 3]
"""Columns of `Matched.rows` that mAP50 needs (class, score, hit): it has by far the most rows of all."""


def _column(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float64)[:, None]


def _mean(rows: np.ndarray) -> float | None:
    return float(rows.mean()) if len(rows) else None


def _detections(video: FoundVideo) -> np.ndarray:
    return match_boxes(video.frames).rows()[:, _KEPT]


def _map50(rows: np.ndarray) -> float | None:
    """`mean_ap`, one class after the other: rows are many, and of a class few."""
    found = []
    for number in np.unique(rows[np.isnan(rows[:, 1]), 0]):
        mine = rows[rows[:, 0] == number]
        whole = np.zeros((len(mine), 5))
        whole[:, _KEPT] = mine
        found.append(mean_ap(Matched.of_rows(whole, 1)))
    return float(np.mean([value for value in found if value is not None])) if found else None


def _typed(video: FoundVideo, which: int, strict: bool) -> np.ndarray:
    return _column(slot_types.slot_types(video.frames, strict) == which)


def _tubes(video: FoundVideo, area: Area | None = None) -> np.ndarray:
    return (video.matched if area is None else video.matched_within(area)).rows()


def _ap(rows: np.ndarray, levels: Sequence[int] = range(len(tube_ap.LEVELS))) -> float | None:
    return tube_ap.average_precision(Matched.of_rows(rows, len(tube_ap.LEVELS)), levels)


def _ar(rows: np.ndarray, most: int) -> float | None:
    return tube_ap.average_recall(Matched.of_rows(rows, len(tube_ap.LEVELS)), most)


_BOXES = (
    BoxProtocol("corloc@vol", "share of frames with objects where a box has IoU above 1/2 with one", "boxes",
                lambda video: _column(corloc.localised_frames(video.frames)), _mean),
    BoxProtocol("decrate@vol", "share of a frame's objects with a box of IoU above 1/2, mean over frames",
                "boxes", lambda video: _column(corloc.detection_rates(video.frames)), _mean),
    BoxProtocol("decrate@vol-pooled", "share of all objects of all frames with a box of IoU above 1/2",
                "boxes", lambda video: _column(corloc.detected_objects(video.frames)), _mean),
    BoxProtocol("map50@vol", "area under the precision-recall curve at IoU 1/2, mean over classes", "boxes",
                _detections, _map50, names=True),
)  # fmt: skip
_TYPES = {
    "so": (slot_types.SINGLE, "a single object"),
    "po": (slot_types.PART, "a part of an object"),
    "go": (slot_types.GROUP, "a group of objects"),
    "bg": (slot_types.GROUND, "background"),
}


def _slot_types(definition: str, strict: bool) -> list[BoxProtocol]:
    """The shares of the four types of boxes, which add up to 1."""
    how = "; a single object needs IoU above 1/2" if strict else ""
    return [
        BoxProtocol(f"{name}@{definition}", f"share of found boxes that hold {meaning}{how}", "boxes",
                    partial(_typed, which=which, strict=strict), _mean)
        for name, (which, meaning) in _TYPES.items()
    ]  # fmt: skip


_AGNOSTIC = "@ytvis-agnostic"
_TUBES = (
    BoxProtocol(f"ap{_AGNOSTIC}", "average precision of tubes, mean over IoU .5:.05:.95", "tubes", _tubes,
                _ap),
    BoxProtocol(f"ap50{_AGNOSTIC}", "average precision of tubes at IoU .5", "tubes", _tubes,
                partial(_ap, levels=[0])),
    BoxProtocol(f"ap75{_AGNOSTIC}", "average precision of tubes at IoU .75", "tubes", _tubes,
                partial(_ap, levels=[5])),
    *(BoxProtocol(f"{name}{_AGNOSTIC}", f"ap{_AGNOSTIC} of {size} objects", "tubes",
                  partial(_tubes, area=area), _ap)
      for name, size, area in (("aps", "small", SMALL), ("apm", "medium", MEDIUM), ("apl", "large", LARGE))),
    *(BoxProtocol(f"ar{most}{_AGNOSTIC}", f"share of objects found by the {most} best tubes of a video",
                  "tubes", _tubes, partial(_ar, most=most))
      for most in (1, 10, 100)),
)  # fmt: skip

_WORDS = (
    BoxProtocol("word@sprites", "share of localised objects whose box is called by their colour or shape",
                "words", lambda video: _column(words.right(video.called)), _mean, names=True),
    BoxProtocol("word-chance@sprites", "what a name drawn from the vocabulary would have in word@sprites",
                "words", lambda video: _column(words.chance(video.called, video.names)), _mean, names=True),
    BoxProtocol("word-majority@sprites", "what the best single name for all would have in word@sprites",
                "words", lambda video: words.counts(video.called, video.names), words.majority, names=True),
)  # fmt: skip

BOX_PROTOCOLS: Mapping[str, BoxProtocol] = {
    protocol.name: protocol
    for protocol in (*_BOXES, *_slot_types("vol", False), *_slot_types("vol-strict", True), *_TUBES, *_WORDS)
}
"""All protocols on boxes and tubes by name, in the order of docs/metrics.md."""
