"""Words for what is found: is a localised object called what it is? For ground truth that has words.

An object is localised if the found box that overlaps it most has an IoU above 1/2 (the rule of
`stages.metrics.corloc`). The name of that box is right if one of its words is one of the object's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from stages.metrics.boxes import BoxFrame, box_iou
from stages.metrics.corloc import LEAST


@dataclass(frozen=True)
class WordFrame:
    """One frame with G annotated and M found boxes.

    Attributes:
        frame: the boxes.
        words: of each of the G objects, those that are right; empty where the ground truth knows none.
        labels: what each of the M boxes is called; None for nothing.
    """

    frame: BoxFrame
    words: Sequence[Sequence[str]]
    labels: Sequence[str | None]


def is_right(label: str | None, words: Sequence[str]) -> bool:
    """Whether one of the words of ``label`` is among ``words``."""
    return label is not None and not set(label.casefold().split()).isdisjoint(words)


def localised(frames: Sequence[WordFrame]) -> Iterator[tuple[str | None, Sequence[str]]]:
    """What each localised object of each frame is called, and the words that are right for it."""
    for one in frames:
        if not len(one.frame.boxes):
            continue
        iou = box_iou(one.frame.boxes, one.frame.truth)
        for number, words in enumerate(one.words):
            best = int(iou[:, number].argmax())
            if words and iou[best, number] > LEAST:
                yield one.labels[best], words


def right(frames: Sequence[WordFrame]) -> np.ndarray:
    """For every localised object 1 if its name is right, else 0; float64 (objects,)."""
    return np.array([is_right(label, words) for label, words in localised(frames)], np.float64)


def chance(frames: Sequence[WordFrame], names: Sequence[str]) -> np.ndarray:
    """For every localised object the share of the vocabulary's ``names`` that would be right, float64
    (objects,)."""
    return _would_be_right(frames, names).mean(axis=1) if names else np.zeros(0)


def counts(frames: Sequence[WordFrame], names: Sequence[str]) -> np.ndarray:
    """How many objects are localised and for how many each name would be right, float64 (1, 1 + names);
    no row without an object."""
    fitting = _would_be_right(frames, names)
    return np.concatenate([[len(fitting)], fitting.sum(axis=0)])[None, :][: len(fitting)]


def majority(rows: np.ndarray) -> float | None:
    """The share of objects for which the name is right that is right most often, from `counts` of all videos.
    None without an object."""
    whole = rows.sum(axis=0)
    return float(whole[1:].max(initial=0.0) / whole[0]) if len(rows) else None


def _would_be_right(frames: Sequence[WordFrame], names: Sequence[str]) -> np.ndarray:
    found = [[is_right(name, words) for name in names] for _, words in localised(frames)]
    return np.array(found, np.float64).reshape(len(found), len(names))
