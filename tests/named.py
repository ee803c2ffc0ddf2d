"""Named tubes with known names on the masks of a real run, written by the real writer."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
from pycocotools import mask as coco

from stages.artifacts import layout
from stages.artifacts.commit import commit
from stages.labeling.clip_spec import ClipSpec
from stages.labeling.named_stage import NamedStage
from stages.labeling.vocabulary import UNNAMED, Vocabulary
from stages.outcome import Done, Outcome
from stages.tubes.reader import TubeStore
from stages.tubes.table import NAMED
from stages.tubes.writer import TubeFrame, TubeName, TubesWriter

VOCABULARY = ("zebra", "<b>red</b> car", "dog", "cat")
"""Not in order, one is markup, and `name_of` gives none the last one."""


def name_of(place: int, tube: int) -> TubeName:
    """Names in video number ``place``: in turn the first three with 0.6, 0.7 and 0.8, and unnamed (grass)."""
    which = (place + tube) % 4
    if which == 3:
        return TubeName(UNNAMED, None, ((VOCABULARY[0], 0.3), (VOCABULARY[1], 0.2)), "grass")
    score = 0.6 + which / 10
    classes = np.full(1 + len(VOCABULARY), (1 - score) / len(VOCABULARY), np.float32)
    classes[1 + which] = score
    others = [(name, (1 - score) / 4) for name in VOCABULARY if name != VOCABULARY[which]]
    return TubeName(VOCABULARY[which], score, ((VOCABULARY[which], score), *others), None, (), classes)


def named_artifact(tubes: Path, folder: Path) -> Path:
    """An artifact in ``folder`` as the stage ``named`` leaves it, from the artifact in ``tubes``.

    Raw tubes are named by `name_of`; of these those with the same name are one named tube, with the number of
    the first of them.
    """
    store = TubeStore(tubes)
    artifact = layout.Artifact(folder, "named", ".parquet")
    folder.mkdir(parents=True)
    stage = NamedStage(Vocabulary(VOCABULARY), ClipSpec(weights="random"))
    description = {"kind": "named", "name": stage.name, "identity": stage.identity()}
    layout.start(artifact, description, layout.ShardLayout())
    places = {video: place for place, video in enumerate(store.videos())}
    by_shard = itertools.groupby(sorted(store.videos(), key=store.shard_of), store.shard_of)
    for upstream, videos in by_shard:
        shard = f"{upstream}-00"
        writer = TubesWriter(folder / "shards" / f".{shard}.tmp", shard)
        outcomes: list[Outcome] = []
        for video in sorted(videos):
            _add(writer, store, video, places[video])
            writer.keep(video)
            outcomes.append(Done(video, {"frames": len(store.frames(video))}))
        commit(artifact, shard, writer.finish(), outcomes, upstream)
    return folder


def _add(writer: TubesWriter, store: TubeStore, video: str, place: int) -> None:
    shard, raw = store.shard(video), store.kinds(video)[0]
    frames, pts = shard.frames(video), shard.times(video)
    places = {frame: position for position, frame in enumerate(frames.tolist())}
    rows = shard.rows(video, raw).to_pylist()
    found = [
        TubeFrame(r["tube"], places[r["frame"]], r["rle"], tuple(r["box"]), r["area"], r["score"])
        for r in rows
    ]
    slots = {r["tube"]: np.array(r["slot"], np.float32) for r in rows if r["slot"] is not None}
    names = {tube: name_of(place, tube) for tube in {f.tube for f in found}}
    first: dict[str, int] = {}
    group = {tube: first.setdefault(names[tube].label, tube) for tube in sorted(names)}
    merged = _merged(found, group, shard.size(video))
    members = {tube: tuple(m for m in sorted(group) if group[m] == tube) for tube in set(group.values())}
    whole = {tube: _with_members(names[tube], members[tube]) for tube in members}
    size = shard.size(video)
    writer.add(video, NAMED, size, frames, pts, merged, {t: slots[t] for t in members if t in slots}, whole)
    writer.add(video, raw, size, frames, pts, found, slots, names)


def _merged(found: list[TubeFrame], group: dict[int, int], size: tuple[int, int]) -> list[TubeFrame]:
    parts: dict[tuple[int, int], list[TubeFrame]] = {}
    for each in found:
        parts.setdefault((group[each.tube], each.position), []).append(each)
    result = []
    for (tube, position), frames in parts.items():
        run = coco.merge([{"size": list(size), "counts": f.rle.encode()} for f in frames])
        box = tuple(int(v) for v in coco.toBbox(run))
        area = int(coco.area(run))
        score = sum(f.score * f.area for f in frames) / sum(f.area for f in frames)
        result.append(TubeFrame(tube, position, run["counts"].decode(), box, area, score))
    return result


def _with_members(name: TubeName, members: tuple[int, ...]) -> TubeName:
    return TubeName(name.label, name.score, name.top, name.background, members, name.classes)
