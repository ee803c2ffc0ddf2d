"""A candidate and the ground truth of a video, put together for protocols on boxes, tubes and words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stages.catalog.boxes import BoxTruth, FrameBoxes
from stages.catalog.classes import class_index
from stages.evaluation.found_tubes import FoundTubes, Layout, frame_boxes
from stages.metrics.box_protocols import BOX_PROTOCOLS, FoundVideo
from stages.metrics.boxes import BoxFrame
from stages.metrics.tube_ap import Tube
from stages.metrics.words import WordFrame


@dataclass(frozen=True)
class Comparison:
    """What all candidates of a video are compared with.

    Attributes:
        layout: of its T frames.
        vocabulary: the names looked for; empty where nothing is named.
        counted: bool (T,), frames whose boxes count: those in which the method has any tube. Published
            evaluation leaves the frames out that no clip of the method has, and so it is for every candidate.
        boxes: ground truth as boxes; None where no protocol asks for it.
        objects: ground truth as tubes, for protocols on tubes.
    """

    layout: Layout
    vocabulary: tuple[str, ...]
    counted: np.ndarray
    boxes: BoxTruth | None = None
    objects: Sequence[Tube] = ()

    @property
    def columns(self) -> np.ndarray | None:
        """The column of scores of each class of the ground truth, int64 (classes,): that of the same name in
        the vocabulary, else one of its own behind them, which nothing is ever called. None where either has
        no names: everything is then of one class.
        """
        classes = () if self.boxes is None else self.boxes.names
        if not self.vocabulary or not classes:
            return None
        found = [class_index(name, self.vocabulary) for name in classes]
        others = len(self.vocabulary)
        return np.array([1 + (others + k if i is None else i) for k, i in enumerate(found)], np.int64)


def protocols_of(names: Sequence[str], comparison: Comparison, named: bool) -> list[str]:
    """Those of the protocols ``names`` that can say something of a candidate: what trivial rows find has no
    name, nor have kinds of masks beyond the published one, so where tubes have names these don't compare.

    Args:
        named: whether the candidate's tubes have been given names, where there is a vocabulary.
    """
    silent = {"words"} if not (comparison.vocabulary and named) else set()
    if comparison.columns is not None and not named:
        silent.add("boxes")
    protocols = [BOX_PROTOCOLS[name] for name in names]
    return [p.name for p in protocols if not (p.names and p.takes in silent)]


def found_video(found: FoundTubes, comparison: Comparison, names: Sequence[str]) -> FoundVideo:
    """What the protocols ``names`` take.

    Raises:
        ValueError: boxes, classes and vocabulary don't fit together.
    """
    takes = {BOX_PROTOCOLS[name].takes for name in names}
    frames, size = len(comparison.counted), comparison.layout.native
    called = _called(found, comparison) if takes & {"boxes", "words"} else []
    return FoundVideo(
        frames=[one.frame for one in called],
        found=found.as_tubes(frames, size) if "tubes" in takes else (),
        truth=comparison.objects,
        called=called,
        names=comparison.vocabulary,
    )


def _called(found: FoundTubes, comparison: Comparison) -> list[WordFrame]:
    """The frames that count, with all their boxes."""
    assert comparison.boxes is not None
    columns = comparison.columns
    width = 1 if columns is None else 1 + len(comparison.vocabulary)
    scores = {tube: _scores(found, tube, columns is None, width) for tube in found.scores}
    every = frame_boxes(found, comparison.layout, len(comparison.counted))
    result = []
    for t in np.flatnonzero(comparison.counted).tolist():
        truth, (tubes, corners) = comparison.boxes.frames[t], every[t]
        table = np.array([scores[tube] for tube in tubes.tolist()]).reshape(-1, width)
        frame = BoxFrame(comparison.layout.shrunk(truth.boxes), _classes(truth, columns), corners, table)
        result.append(WordFrame(frame, truth.words, [found.labels.get(tube) for tube in tubes.tolist()]))
    return result


def _scores(found: FoundTubes, tube: int, single: bool, width: int) -> np.ndarray:
    """A tube's row of scores: its confidence as the one class, or its probability of every target."""
    if single:
        return np.array([found.scores[tube]])
    given = found.classes.get(tube)
    if given is None:
        return np.full(width, np.nan)
    if len(given) != width:
        raise ValueError(f"tube {tube} has {len(given)} probabilities for {width - 1} names and the rest")
    # the rest is never annotated: leaving it out changes no figure and makes less evidence
    return np.concatenate([[np.nan], given[1:]])


def _classes(truth: FrameBoxes, columns: np.ndarray | None) -> np.ndarray:
    return np.zeros(len(truth.boxes), np.int64) if columns is None else columns[truth.classes]
