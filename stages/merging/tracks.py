"""Tracks: tubes of neighbouring segments of one file that show the same thing, and one name for them.

A long file is several videos to all stages. Here their tubes are linked from segment to segment, by the rule
that links clips (`stages.merging.clips`): two tubes are as alike as the mean of the cosine of their slot
vectors and of the intersection over union of their masks at the border. Tubes without slot vectors are as
alike as their masks. Only tubes with pixels in one of the `NEAR` frames next to the border take part; their
mask is that of the nearest one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pycocotools import mask as coco

from stages.catalog.ids import split_video
from stages.labeling.vocabulary import UNNAMED
from stages.merging.clips import NO_PARTNER, best_pairs
from stages.merging.linking import similarity
from stages.tubes.reader import TubeStore
from stages.tubes.table import NAMED, tubes_of

NEAR = 3
"""Stored frames at either side of a border in which a tube must have pixels to go on."""

_OF_TUBE = ("tube", "frame", "area", "score", "label", "label_score", "classes")
_AT_BORDER = ("tube", "frame", "rle", "slot")


@dataclass(frozen=True)
class Border:
    """The tubes at one end of a segment.

    Attributes:
        tubes: their n numbers, rising.
        runs: their masks at that end, as run lengths of COCO.
        slots: (n, d), or None where the method has none.
    """

    tubes: tuple[int, ...]
    runs: Sequence[Mapping[str, Any]]
    slots: np.ndarray | None


def sources(store: TubeStore) -> dict[str, list[str]]:
    """The videos of every source, in the order of its segments."""
    numbered = sorted((*split_video(video), video) for video in store.videos())
    return {
        source: [video for *_, video in rows] for source, rows in groupby(numbered, key=lambda row: row[0])
    }


def track_source(
    store: TubeStore, source: str, videos: Sequence[str], names: Sequence[str], threshold: float
) -> Iterator[dict[str, Any]]:
    """The tracks of a source, as rows of `stages.merging.tracks_stage.TRACKS_SCHEMA`: every named tube in
    exactly one.

    Args:
        videos: its segments, in order.
        names: of the vocabulary, which the tubes' ``classes`` are probabilities of.
        threshold: see `link`.
    """
    tracks: list[list[dict[str, Any]]] = []
    last: dict[int, int] = {}
    for before, video in zip((None, *videos), videos, strict=False):
        partner = {} if before is None else link_segments(store, before, video, threshold)
        here: dict[int, int] = {}
        for tube in _tubes(store, video):
            number = tube["tube"]
            if number in partner:
                here[number] = last[partner[number]]
            else:
                here[number] = len(tracks)
                tracks.append([])
            tracks[here[number]].append(tube)
        last = here
    for track, tubes in enumerate(tracks):
        label, score = pooled_name(tubes, names)
        for tube in tubes:
            kept = {key: tube[key] for key in ("video", "tube", "first_pts", "last_pts")}
            yield {"source": source, "track": track, **kept, "label": label, "label_score": score}


def link_segments(store: TubeStore, before: str, after: str, threshold: float) -> dict[int, int]:
    """The tube of segment ``before`` that a tube of segment ``after`` goes on with, by its number.

    Empty where these are no neighbours, as when the segment between them was rejected, and where
    ``threshold`` is 0.
    """
    first, second = split_video(before)[1], split_video(after)[1]
    if not threshold or first is None or second != first + 1:
        return {}
    ends = _border(store, before, last=True), _border(store, after, last=False)
    partner = link(*ends, threshold)
    return {
        tube: ends[0].tubes[place]
        for tube, place in zip(ends[1].tubes, partner.tolist(), strict=True)
        if place != NO_PARTNER
    }


def link(before: Border, after: Border, threshold: float) -> np.ndarray:
    """The place in ``before`` that every tube of ``after`` goes on with, int64 (m,); -1 for none.

    Args:
        threshold: how alike two tubes have to be, up to 1.
    """
    if not before.tubes or not after.tubes:
        return np.full(len(after.tubes), NO_PARTNER, np.int64)
    alike = coco.iou(after.runs, before.runs, [0] * len(before.runs)).T
    if before.slots is not None and after.slots is not None:
        alike = (alike + similarity(before.slots, after.slots)) / 2
    return best_pairs(alike, threshold)


def pooled_name(tubes: Sequence[dict[str, Any]], names: Sequence[str]) -> tuple[str, float | None]:
    """The name of a track and its probability.

    The probabilities of the tubes that have a name are averaged, weighted with their pixels over all frames;
    the best target is the name. Tubes that no name fits have no say: what fits them best is not among these
    probabilities. Where all are such, so is the track.
    """
    voters = [tube for tube in tubes if tube["label"] != UNNAMED and tube["classes"] is not None]
    if not voters:
        return UNNAMED, None
    areas = np.array([tube["area"] for tube in voters], np.float64)
    pooled = areas @ np.array([tube["classes"] for tube in voters], np.float64) / areas.sum()
    best = int(pooled[1:].argmax())
    return names[best], float(pooled[1 + best])


def _tubes(store: TubeStore, video: str) -> list[dict[str, Any]]:
    """The named tubes of a video, with the times of their first and last pixels in seconds."""
    shard = store.shard(video)
    times = dict(zip(shard.frames(video).tolist(), shard.times(video).tolist(), strict=True))
    found = tubes_of(shard.rows(video, NAMED, _OF_TUBE)).to_pylist()
    return [{**tube, "first_pts": times[tube["first"]], "last_pts": times[tube["last"]]} for tube in found]


def _border(store: TubeStore, video: str, last: bool) -> Border:
    """The tubes near one end of a video."""
    shard = store.shard(video)
    frames = shard.frames(video)
    near = frames[-NEAR:] if last else frames[:NEAR]
    rows = shard.rows(video, NAMED, _AT_BORDER)
    rows = rows.filter(pc.is_in(rows["frame"], pa.array(near)))
    nearest: dict[int, dict[str, Any]] = {}
    for row in sorted(rows.to_pylist(), key=lambda row: row["frame"], reverse=last):
        nearest.setdefault(row["tube"], row)
    tubes = tuple(sorted(nearest))
    size = list(shard.size(video))
    runs = [{"size": size, "counts": nearest[tube]["rle"].encode("ascii")} for tube in tubes]
    slots = [nearest[tube]["slot"] for tube in tubes]
    return Border(tubes, runs, None if None in slots else np.array(slots, np.float64))
