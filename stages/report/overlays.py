"""Tubes drawn on frames for the report: the best, the median and the worst video, or simply the first
ones with a name.
"""

from __future__ import annotations

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from stages.artifacts import whole
from stages.artifacts.place import place
from stages.catalog.ids import path_of
from stages.catalog.rows import catalog_rows
from stages.decode.client import DecoderClient
from stages.decode.spec import DecodeRequest, DecodeSpec, Geometry
from stages.outcome import MediaError
from stages.report.names import tube_lines
from stages.report.page.model import Overlay
from stages.stage import MemoryAttempts, WorkContext
from stages.tubes.reader import TubeStore
from stages.tubes.table import NAMED

SHOWN = 6
"""Frames per video."""
HEIGHT = 240
"""Short side of the pictures, in pixels."""


def overlays(context: WorkContext, primary: str) -> list[Overlay]:
    """Pictures of up to three videos; a video that can't be decoded any more is left out."""
    folder = context.inputs.get("named") or context.inputs.get("tubes")
    if folder is None:
        return []
    store = TubeStore(folder)
    drawn = []
    for video, note, score in _chosen(context, store, primary):
        try:
            drawn.append(_draw(context, store, video, note, score))
        except MediaError:
            continue
    return drawn


def _chosen(context: WorkContext, store: TubeStore, primary: str) -> list[tuple[str, str, str]]:
    """``(video, note, score)`` by the primary protocol of the first kind of masks that has figures, or the
    first videos; see `_first`.
    """
    found = whole.files(place(context.inputs["metrics"])) if "metrics" in context.inputs else None
    if found is None:
        return _first(store)
    table = pq.read_table(found / "per_video.parquet")
    table = table.filter(pc.and_(pc.equal(table["protocol"], primary), pc.is_valid(table["value"])))
    scored = table["candidate"].unique().to_pylist()  # without an object a video has no figure of its own
    kind = next((kind for kind in store.kinds() if kind in scored), None)
    if kind is None:
        return _first(store)
    mine = table.filter(pc.equal(table["candidate"], kind))
    ranked = mine.sort_by([("value", "descending"), ("video", "ascending")]).to_pylist()
    picked = {0: "best", len(ranked) // 2: "median", len(ranked) - 1: "worst"}
    if len(ranked) == 1:
        picked = {0: ""}  # nothing to compare it with
    return [(ranked[i]["video"], note, f"{primary} {ranked[i]['value']:.3f}") for i, note in picked.items()]


def _first(store: TubeStore) -> list[tuple[str, str, str]]:
    """The first three videos, rather ones in which a tube has a name; of what is rare, most have none."""
    named: set[str] = set()
    for part in store.parts(NAMED, ["label_score"]) if NAMED in store.kinds() else ():
        named |= set(part.filter(part["label_score"].is_valid())["video"].to_pylist())
        if len(named) >= 3:
            break
    chosen = sorted(store.videos(), key=lambda video: (video not in named, video))[:3]
    return [(video, "", "") for video in sorted(chosen)]


def _draw(context: WorkContext, store: TubeStore, video: str, note: str, score: str) -> Overlay:
    kind = store.kinds()[0]
    frames = store.frames(video)
    shown = np.unique(np.linspace(0, len(frames) - 1, min(SHOWN, len(frames))).astype(int)).tolist()
    labels = store.label_map(video, kind, shown)
    row = catalog_rows(context.inputs["catalog"], store.shard_of(video))[video]
    wanted = {int(frames[i]): place for place, i in enumerate(shown)}
    request = DecodeRequest(
        key=video,
        path=path_of(context.data_root, row["uri"]),
        start=row["start"],
        frames=row["frames"],
        clock=row["fps"],
        spec=DecodeSpec(fps="all"),
        geometry=Geometry(HEIGHT),
        chunk=8,
    )
    client = DecoderClient(context.limits)
    pictures: list[tuple[np.ndarray, np.ndarray, str]] = []
    try:
        for chunk in next(iter(client.decode([request], MemoryAttempts()))):
            for index, pts, rgb in zip(chunk.index.tolist(), chunk.pts.tolist(), chunk.rgb, strict=True):
                if index in wanted:
                    small = _nearest(labels[wanted[index]], rgb.shape[0], rgb.shape[1])
                    pictures.append((rgb.copy(), small, f"{pts:.2f} s"))
    finally:
        client.close()
    frames_shown = [(rgb, small) for rgb, small, _ in pictures]
    tubes = tube_lines(store, video) if kind == NAMED else []
    return Overlay(video, note, score, frames_shown, [time for *_, time in pictures], tubes)


def _nearest(labels: np.ndarray, height: int, width: int) -> np.ndarray:
    """A label map at another size, by nearest neighbour."""
    rows = (np.arange(height) + 0.5) * labels.shape[0] / height
    columns = (np.arange(width) + 0.5) * labels.shape[1] / width
    small: np.ndarray = labels[rows.astype(int)][:, columns.astype(int)]
    return small
