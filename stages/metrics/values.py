"""The scores of one video in each protocol, by object; None (or no entry) where the video doesn't count.

Each function is one protocol or a family of them; `stages.metrics.protocols` gives them their names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np

from stages.metrics.overlap import Matching, per_frame, per_object
from stages.metrics.rand_index import adjusted_rand
from stages.metrics.scored_video import Video
from stages.metrics.solv import mean_fg_ari
from stages.metrics.statistics import statistics

Values = Mapping[int | None, float | None]
"""Values by id of the object; the key None stands for the whole video."""


def solv_iou(video: Video) -> Values:
    """``miou@solv``: every object of the first frame; frames that show it or its tube (sheet section 2.6)."""
    found = video.solv
    return {} if found is None else dict(zip(found.objects, found.iou.tolist(), strict=True))


def solv_fgari(video: Video) -> Values:
    """``fgari@solv``: pixels of the objects of the first frame, in frames with one (sheet section 2.6)."""
    return {None: None if video.solv is None else video.solv.fg_ari}


def frames_fgari(video: Video, empty_frames: bool = False) -> Values:
    """``fgari@frame``: pixels of all objects; frames without one don't count, or 1 with ``empty_frames``."""
    tables = video.confusion.counts[:, 1:]
    if not empty_frames or not video.confusion.objects:
        return {None: mean_fg_ari(tables, video.options.drop_single)}
    return {None: float(adjusted_rand(tables).mean())}


def video_fgari(video: Video) -> Values:
    """``fgari@video``: pixels of all objects in all frames as one set."""
    if not video.confusion.objects:
        return {}
    return {None: float(adjusted_rand(video.confusion.counts[:, 1:].sum(axis=0)))}


def video_ari(video: Video) -> Values:
    """``ari@video``: all pixels that aren't void as one set, the background being one more object."""
    if not video.confusion.objects:
        return {}
    return {None: float(adjusted_rand(video.confusion.counts.sum(axis=0)))}


def chunks_fgari(video: Video) -> Values:
    """``fgari@videosaur-chunk6``: as ``fgari@video`` in each chunk that shows an object; mean over chunks."""
    least = 2 if video.options.drop_single else 1
    tables = [chunk.counts[:, 1:].sum(axis=0) for chunk in video.chunks if len(chunk.objects) >= least]
    return {None: float(np.mean([adjusted_rand(table) for table in tables]))} if tables else {}


def chunks_mbo(video: Video) -> Values:
    """``mbo@videosaur-chunk6``: as ``mbo@video`` in each chunk that shows an object; mean over chunks."""
    if not video.chunks:
        return {}
    return {None: float(np.mean([per_object(chunk, "best").mean() for chunk in video.chunks]))}


def objects_iou(video: Video, matching: Matching) -> Values:
    """``miou@video``, ``mbo@video``: every object of the video, all its frames pooled."""
    found = video.confusion
    return dict(zip(found.objects, per_object(found, matching).tolist(), strict=True))


def frames_iou(video: Video, matching: Matching, absent: Literal["skip", "zero"] = "skip") -> Values:
    """``miou@frame``, ``mbo@frame``: the objects in each frame; mean over the frames that show one."""
    means = per_frame(video.confusion, matching, absent)
    counted = means[~np.isnan(means)]
    return {None: float(counted.mean())} if len(counted) else {}


def davis(video: Video, definition: str, figure: str) -> Values:
    """``@davis17u``, ``-perframe`` and ``@davis17s``: objects 1..highest id of the first frame.

    All frames count, in ``@davis17s`` all but the first and the last.
    """
    found = getattr(video, definition.replace("-", "_"))
    if found is None:
        return {}
    if figure == "jf":
        return dict(zip(found.objects, ((found.j + found.f) / 2).mean(axis=1).tolist(), strict=True))
    curves = found.j if figure.startswith("j") else found.f
    name = {"recall": "recall", "decay": "decay"}.get(figure[1:], "mean")
    each = [statistics(curve, video.options.decay_uint8_bug) for curve in curves]
    return {number: getattr(found, name) for number, found in zip(found.objects, each, strict=True)}


def foreground_j(video: Video) -> Values:
    """``j@davis16`` of the tube that `choose_foreground` takes; all frames, all objects as one."""
    from stages.metrics.foreground import choose_foreground, j_davis16

    tube = choose_foreground(video.labels)
    foreground = (video.labels == tube) & (video.labels >= 0)
    return {None: j_davis16(foreground, video.truth, video.void)}


def oracle(video: Video, per_frame: bool = False) -> Values:
    """``j@davis16-oracle``: the tube with the best mean J, or in each frame the tube with the best J."""
    from stages.metrics.foreground import oracle_j

    return {None: oracle_j(video.confusion, per_frame)}
