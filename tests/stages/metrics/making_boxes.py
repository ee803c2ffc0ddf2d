"""Frames with boxes, videos with tubes, and pycocotools' evaluator to compare with."""

from __future__ import annotations

import contextlib
import io

import numpy as np
from hypothesis import strategies as st
from pycocotools import mask as coco
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from stages.metrics.boxes import BoxFrame


def frame(truth=(), boxes=(), scores=None, classes=None, columns=1):
    """A frame; without scores every box is nameless, without classes every object is of class 0."""
    given = np.full((len(boxes), columns), np.nan) if scores is None else np.reshape(scores, (len(boxes), -1))
    return BoxFrame(
        np.array(truth, float),
        np.zeros(len(truth), int) if classes is None else np.array(classes, int),
        np.array(boxes, float),
        given,
    )


def random_frames(seed: int, count: int = 8, classes: int = 3, steps: int = 5) -> list[BoxFrame]:
    """Frames on a coarse grid, so that IoUs tie, with few different scores, so that those tie as well."""
    random = np.random.default_rng(seed)

    def boxes(most):
        start = random.integers(0, 4, (random.integers(0, most + 1), 2))
        return np.concatenate([start, start + random.integers(1, 4, start.shape)], axis=1) * 6.0

    frames = []
    for _ in range(count):
        truth, found = boxes(4), boxes(6)
        scores = random.integers(0, steps, (len(found), classes)) / steps
        scores[random.random(scores.shape) < 0.2] = np.nan
        frames.append(BoxFrame(truth, random.integers(0, classes, len(truth)), found, scores))
    return frames


def shuffled(video: list[BoxFrame], seed: int, frames: bool = False) -> list[BoxFrame]:
    """The same video with the boxes (and the frames) in another order."""
    random = np.random.default_rng(seed)
    result = []
    for i in random.permutation(len(video)) if frames else range(len(video)):
        old = video[i]
        t, b = random.permutation(len(old.truth)), random.permutation(len(old.boxes))
        result.append(BoxFrame(old.truth[t], old.truth_classes[t], old.boxes[b], old.scores[b]))
    return result


SEEDS = st.integers(0, 2**32 - 1)


def rectangle(size, x, y, w, h):
    """A filled rectangle as a mask of pycocotools."""
    return coco.frPyObjects(np.array([[x, y, w, h]], float), *size)[0]


def coco_eval(kind, images, truths, found, **params):
    """pycocotools' evaluator after ``evaluate`` and ``accumulate``.

    Args:
        kind: ``bbox`` or ``segm``.
        images: (height, width) of each.
        truths: annotations without ids.
        found: results; an ``area`` in them stays as it is.
        params: set on its ``params``.
    """
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {
            "info": {},
            "images": [{"id": i, "height": h, "width": w} for i, (h, w) in enumerate(images)],
            "annotations": [{"id": i, "iscrowd": 0, **a} for i, a in enumerate(truths, 1)],
            "categories": [{"id": c} for c in sorted({a["category_id"] for a in [*truths, *found]})],
        }
        truth.createIndex()
        results = truth.loadRes([dict(one) for one in found])
        for made, given in zip(results.dataset["annotations"], found, strict=True):
            made["area"] = given.get("area", made["area"])
        oracle = COCOeval(truth, results, kind)
        for name, value in params.items():
            setattr(oracle.params, name, value)
        oracle.evaluate()
        oracle.accumulate()
    return oracle
