"""DAVIS 2017: unsupervised scorer, its per-frame variant, semi-supervised one (methods sheet section 8.4)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain

import numpy as np

from stages.metrics.boundary import compare
from stages.metrics.confusion import BACKGROUND, NO_TUBE, check
from stages.metrics.matching import assign
from stages.metrics.proposals import Ground, LabelProposals, Proposals, TooMany, limited

MOST_PROPOSALS = 20
MOST_PER_FRAME = 300


@dataclass(frozen=True)
class DavisResult:
    """Curves of a video's objects 1..G over its N counted frames.

    Attributes:
        j: region similarity, float64 (G, N).
        f: boundary measure, float64 (G, N).
        matched: the proposal that each object got, int64 (G, N); -1 for an empty one that was added.
    """

    j: np.ndarray
    f: np.ndarray
    matched: np.ndarray

    @property
    def objects(self) -> tuple[int, ...]:
        """Ids of the objects: 1..G, also those without a pixel."""
        return tuple(range(1, len(self.j) + 1))


def object_count(truth: np.ndarray, void: np.ndarray | None = None) -> int:
    """The highest id in the first frame, outside of void; objects with higher ids are background."""
    first = truth[0] if void is None else np.where(void[0], BACKGROUND, truth[0])
    return int(first.max())


def unsupervised(
    prediction: np.ndarray | Proposals,
    truth: np.ndarray,
    void: np.ndarray | None = None,
    too_many: TooMany = "largest",
    ground: Ground = "none",
) -> DavisResult | None:
    """The official protocol: one assignment for the whole video, by the mean over frames of (J + F) / 2.

    Args:
        prediction: tube ids, int (T, H, W), -1 where there is none; or overlapping proposals, which the
            official format can't hold.
        truth: object ids, int (T, H, W), 0 background; void pixels must be 0 or in ``void``.
        void: bool (T, H, W), pixels removed from all masks.
        too_many: see `limited`; the limit is 20.
        ground: see `limited`.

    Returns:
        Curves over all frames, or None where the first frame has no object.

    Raises:
        ValueError: shapes or types differ from these, or there are too many proposals and that is an error.
    """
    video = _Pairs.of(prediction, truth, void, MOST_PROPOSALS, too_many, ground)
    if not video.objects:
        return None
    size = (video.proposals, video.objects, len(truth))
    j, f = np.empty(size), np.empty(size)
    for t in range(len(truth)):
        j[:, :, t], f[:, :, t] = video.frame(t)
    rows, columns = assign((j.mean(axis=2) + f.mean(axis=2)) / 2)
    order = np.argsort(columns)
    matched = rows[order]
    objects = np.arange(video.objects)
    kept = np.repeat(video.ids[matched][:, None], len(truth), axis=1)
    return DavisResult(j[matched, objects], f[matched, objects], kept)


def unsupervised_per_frame(
    prediction: np.ndarray | Proposals,
    truth: np.ndarray,
    void: np.ndarray | None = None,
    too_many: TooMany = "largest",
) -> DavisResult | None:
    """The variant that SMTC and BA ship: an assignment in every frame anew, by J + F; at most 300 proposals.

    It sees no identity over time. Arguments, result and errors as of `unsupervised`. Rows are objects here;
    the released scorer's rows are matched proposals, which are no objects over time, so its per-row figures
    have no meaning. Means over all rows are the same.
    """
    video = _Pairs.of(prediction, truth, void, MOST_PER_FRAME, too_many, "none")
    if not video.objects:
        return None
    size = (video.objects, len(truth))
    j, f, kept = np.empty(size), np.empty(size), np.empty(size, np.int64)
    for t in range(len(truth)):
        frame_j, frame_f = video.frame(t)
        rows, columns = assign(frame_j + frame_f)
        j[columns, t], f[columns, t] = frame_j[rows, columns], frame_f[rows, columns]
        kept[columns, t] = video.ids[rows]
    return DavisResult(j, f, kept)


def semi_supervised(prediction: np.ndarray, truth: np.ndarray) -> DavisResult | None:
    """The official protocol where the first frame's masks are given: ids are compared with themselves.

    First and last frame are left out. An object without a predicted pixel has an empty mask. Void is unknown.

    Args:
        prediction: *object* ids, int (T, H, W); 0 and -1 are background.
        truth: object ids, int (T, H, W), 0 background.

    Returns:
        Curves over the T - 2 frames in between, or None where the first frame has no object or T < 3.

    Raises:
        ValueError: shapes or types differ from these, or an id is higher than the objects of the first frame.
    """
    check(prediction, truth)
    objects, highest = object_count(truth), int(prediction.max())
    if not objects or len(truth) < 3:
        return None
    if highest > objects:
        raise ValueError(
            f"the prediction has the id {highest}, the first frame has objects up to {objects}: with given "
            "first masks, tube ids must be object ids"
        )
    size = (objects, len(truth) - 2)
    j, f = np.empty(size), np.empty(size)
    for t in range(1, len(truth) - 1):
        for k in range(objects):
            pair = compare([prediction[t] == k + 1], [truth[t] == k + 1])
            j[k, t - 1], f[k, t - 1] = pair[0][0, 0], pair[1][0, 0]
    return DavisResult(j, f, np.repeat(np.arange(1, objects + 1)[:, None], size[1], axis=1))


@dataclass(frozen=True)
class _Pairs:
    """J and F of proposals and objects 1..``objects`` frame by frame, padded to at least as many proposals.

    Attributes:
        objects: G.
        proposals: K, with padding.
        ids: id of each proposal, int64 (K,); -1 for padding.
        frame: J and F of frame t, float64 (K, G) each.
    """

    objects: int
    proposals: int
    ids: np.ndarray
    frame: Callable[[int], tuple[np.ndarray, np.ndarray]]

    @classmethod
    def of(
        cls,
        prediction: np.ndarray | Proposals,
        truth: np.ndarray,
        void: np.ndarray | None,
        most: int,
        too_many: TooMany,
        ground: Ground,
    ) -> _Pairs:
        if isinstance(prediction, Proposals):
            # One number broadcast to the shape: checks the rest without a map of the video.
            check(np.broadcast_to(np.int8(0), prediction.shape), truth, void)
            source: Proposals | LabelProposals = prediction
        else:
            check(prediction, truth, void)
            source = LabelProposals(prediction)
        objects = object_count(truth, void)
        numbers = limited(source, most, too_many, ground) if objects else ()
        ids = np.array([*numbers, *[NO_TUBE] * (objects - len(numbers))], np.int64)
        empty = [np.zeros(truth.shape[1:], bool)] * (len(ids) - len(numbers))

        def frame(t: int) -> tuple[np.ndarray, np.ndarray]:
            masks = (truth[t] == number for number in range(1, objects + 1))
            nothing = None if void is None else void[t]
            return compare(chain(source.masks(t, numbers), empty), masks, nothing)

        return cls(objects, len(ids), ids, frame)
