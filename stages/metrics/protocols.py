"""The named protocols: what a score is called, how a video is scored, how videos become a data set's figure.

Names are ``metric@definition``; docs/metrics.md says for each which definition it is, who publishes it and
what it cannot see. Plans import this module: SciPy and OpenCV are imported where they are used.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np

from stages.metrics import values
from stages.metrics.proposals import Proposals
from stages.metrics.scored_video import DEFAULTS, ScoreOptions, Video
from stages.metrics.values import Values

Pool = Literal["objects", "videos"]
"""``objects``: mean over all objects of all videos. ``videos``: mean within each video, then over videos."""


@dataclass(frozen=True)
class Score:
    """A video's value in a protocol, as a fraction; ``object`` is an annotated id, None for a whole video.

    A value is never NaN: a video that doesn't count for a protocol has no score there.
    """

    protocol: str
    object: int | None
    value: float


@dataclass(frozen=True)
class Protocol:
    """A named protocol.

    Attributes:
        name: ``metric@definition``.
        help: one line: which objects and frames count, and how.
        pool: how a data set's figure is made of the scores.
        values: scores of one video.
        boundary: whether contours are compared, which takes nearly all the time.
        overlap: whether it takes overlapping `Proposals` as well as label maps.
    """

    name: str
    help: str
    pool: Pool
    values: Callable[[Video], Values]
    boundary: bool = False
    overlap: bool = False


def score(
    names: Sequence[str],
    prediction: np.ndarray | Proposals,
    truth: np.ndarray,
    void: np.ndarray | None = None,
    options: ScoreOptions = DEFAULTS,
) -> list[Score]:
    """Score one video in several protocols.

    Args:
        names: of `PROTOCOLS`.
        prediction: tube ids, int (T, H, W): -1 where no tube covers the pixel, 0 is a tube like any other,
            ids may have gaps. For ``@davis17s`` alone they are object ids and 0 is background. `Proposals`
            for the protocols that allow overlap.
        truth: object ids, int (T, H, W), 0 background; ids may have gaps.
        void: bool (T, H, W), pixels that count nowhere (except in ``@davis17s``, which knows no void).
        options: see `ScoreOptions`.

    Returns:
        Scores in the order of ``names``; none for a protocol for which the video doesn't count.

    Raises:
        ValueError: there is no such protocol, or the maps are not as above (one sentence that says how).
    """
    from stages.metrics.confusion import check

    for name in names:
        if name not in PROTOCOLS:
            raise ValueError(f"there is no protocol {name!r}; there are {', '.join(PROTOCOLS)}")
        if isinstance(prediction, Proposals) and not PROTOCOLS[name].overlap:
            raise ValueError(f"{name} scores a label map, not proposals that may overlap")
    if isinstance(prediction, np.ndarray):
        check(prediction, truth, void)
    video = Video(prediction, truth, void, options)
    found = []
    for name in names:
        for number, value in PROTOCOLS[name].values(video).items():
            if value is not None and value == value:
                found.append(Score(name, number, float(value)))
    return found


def pooled(protocol: str, values_by_video: Mapping[str, Sequence[Score]]) -> float | None:
    """The data set's figure, as a fraction; None where no video counts.

    Args:
        protocol: its name.
        values_by_video: the protocol's scores of each video; videos without any don't count.
    """
    videos = [[score.value for score in scores] for scores in values_by_video.values() if scores]
    if not videos:
        return None
    if PROTOCOLS[protocol].pool == "objects":
        return float(np.mean(np.concatenate([np.asarray(values, np.float64) for values in videos])))
    return float(np.mean([np.mean(np.asarray(values, np.float64)) for values in videos]))


_IOU = (
    Protocol("miou@video", "IoU of each object's volume, tubes assigned one to one over the video", "videos",
             partial(values.objects_iou, matching="hungarian")),
    Protocol("miou@frame", "IoU of a frame's objects, tubes assigned one to one in each frame anew", "videos",
             partial(values.frames_iou, matching="hungarian")),
    Protocol("mbo@video", "IoU of each object's volume with the tube that overlaps it most", "videos",
             partial(values.objects_iou, matching="best")),
    Protocol("mbo@frame", "IoU of a frame's objects with the tubes that overlap them most there", "videos",
             partial(values.frames_iou, matching="best")),
    Protocol("mbo@videosaur-chunk6", "mbo@video on chunks of 6 frames", "videos", values.chunks_mbo),
    Protocol("mbo@vol-frame", "mbo@frame where absent ids below a frame's highest id count 0", "videos",
             partial(values.frames_iou, matching="best", absent="zero")),
    Protocol("miou@vol-frame", "miou@frame where absent ids below a frame's highest id count 0", "videos",
             partial(values.frames_iou, matching="hungarian", absent="zero")),
)  # fmt: skip
_ARI = (
    Protocol("fgari@frame", "adjusted Rand index of a frame's object pixels, mean over frames with objects",
             "videos", values.frames_fgari),
    Protocol("fgari@frame-all", "fgari@frame where frames without an object count 1", "videos",
             partial(values.frames_fgari, empty_frames=True)),
    Protocol("fgari@video", "adjusted Rand index of all object pixels of the video at once", "videos",
             values.video_fgari),
    Protocol("fgari@videosaur-chunk6", "fgari@video on chunks of 6 frames", "videos", values.chunks_fgari),
    Protocol("ari@video", "adjusted Rand index of all pixels of the video, background included", "videos",
             values.video_ari),
)  # fmt: skip
_SOLV = (
    Protocol("miou@solv", "mean frame IoU of each object of the first frame after assignment over the video",
             "objects", values.solv_iou),
    Protocol("fgari@solv", "FG-ARI per frame of the objects of the first frame, unassigned tubes made one",
             "videos", values.solv_fgari),
)  # fmt: skip
_SINGLE = (
    Protocol("j@davis16", "IoU of the tube chosen as foreground without labels with all objects as one",
             "videos", values.foreground_j),
    Protocol("j@davis16-oracle", "IoU of the video's best tube with all objects as one", "videos",
             values.oracle),
    Protocol("j@davis16-oracle-perframe", "IoU of each frame's best tube with all objects as one", "videos",
             partial(values.oracle, per_frame=True)),
)  # fmt: skip


def _davis(definition: str, words: str, overlap: bool = False) -> list[Protocol]:
    """The scores that one DAVIS scorer gives: means of J, F and both, recall and decay of J and F."""
    figures = {
        "jf": "mean of region J and boundary F",
        "j": "region similarity J",
        "f": "boundary measure F",
        "jrecall": "share of frames with J above 0.5",
        "frecall": "share of frames with F above 0.5",
        "jdecay": "J of the first quarter of frames minus the last quarter's",
        "fdecay": "F of the first quarter of frames minus the last quarter's",
    }
    return [
        Protocol(
            f"{figure}@{definition}", f"{meaning}; {words}", "objects",
            partial(values.davis, definition=definition, figure=figure), boundary=True, overlap=overlap,
        )
        for figure, meaning in figures.items()
    ]  # fmt: skip


PROTOCOLS: Mapping[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        *_SOLV,
        *_ARI,
        *_IOU,
        *_davis("davis17u", "objects of the first frame, at most 20 tubes, one assignment for the video"),
        *_davis("davis17u-perframe", "as davis17u, but an assignment in every frame, at most 300", True),
        *_davis("davis17s", "given first masks: same ids compared, first and last frame left out"),
        *_SINGLE,
    )
}
"""All protocols by name, in the order of docs/metrics.md."""
