"""Tubes drawn on frames for the report: the best, the median and the worst video, or simply the first
ones.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from stages.artifacts import whole
from stages.artifacts.layout import Artifact
from stages.artifacts.ledger import Ledger
from stages.catalog.ids import path_of
from stages.catalog.rows import catalog_rows
from stages.decode.client import DecoderClient
from stages.decode.spec import DecodeRequest, DecodeSpec, Geometry
from stages.outcome import MediaError
from stages.report.page.model import Overlay
from stages.stage import MemoryAttempts, WorkContext
from stages.tubes.reader import TubeStore

SHOWN = 6
"""Frames per video."""
HEIGHT = 240
"""Short side of the pictures, in pixels."""


def overlays(context: WorkContext, primary: str) -> list[Overlay]:
    """Pictures of up to three videos; a video that can't be decoded any more is left out."""
    if "tubes" not in context.inputs:
        return []
    store = TubeStore(Path(context.inputs["tubes"]))
    drawn = []
    for video, note, score in _chosen(context, store, primary):
        try:
            drawn.append(_draw(context, store, video, note, score))
        except MediaError:
            continue
    return drawn


def _chosen(context: WorkContext, store: TubeStore, primary: str) -> list[tuple[str, str, str]]:
    """``(video, note, score)`` by the primary protocol of the first kind of masks, or the first three
    videos.
    """
    found = whole.current(Path(context.inputs["metrics"])) if "metrics" in context.inputs else None
    videos = store.videos()
    if found is None:
        return [(video, "", "") for video in videos[:3]]
    table = pq.read_table(found[0] / "per_video.parquet")
    kinds = store.kinds()
    mine = pc.and_(pc.equal(table["protocol"], primary), pc.equal(table["candidate"], kinds[0]))
    mine = pc.and_(mine, pc.is_valid(table["value"]))  # without an object a video has no figure of its own
    ranked = table.filter(mine).sort_by([("value", "descending"), ("video", "ascending")]).to_pylist()
    if not ranked:
        return [(video, "", "") for video in videos[:3]]
    picked = {0: "best", len(ranked) // 2: "median", len(ranked) - 1: "worst"}
    if len(ranked) == 1:
        picked = {0: ""}  # nothing to compare it with
    return [(ranked[i]["video"], note, f"{primary} {ranked[i]['value']:.3f}") for i, note in picked.items()]


def _draw(context: WorkContext, store: TubeStore, video: str, note: str, score: str) -> Overlay:
    labels = store.label_map(video, store.kinds()[0])
    frames = store.frames(video)
    shown = np.unique(np.linspace(0, len(frames) - 1, min(SHOWN, len(frames))).astype(int))
    row = catalog_rows(context.inputs["catalog"], _shard(context, video))[video]
    wanted = {int(frames[i]): int(i) for i in shown}
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
    return Overlay(
        video, note, score, [(rgb, small) for rgb, small, _ in pictures], [t for *_, t in pictures]
    )


def _shard(context: WorkContext, video: str) -> str:
    ledger = Ledger.load(Artifact.at(Path(context.inputs["tubes"])))
    done = ledger.with_status("done")
    mine = done.filter(pc.equal(done["video"], video))
    return str(mine["shard"][0].as_py())


def _nearest(labels: np.ndarray, height: int, width: int) -> np.ndarray:
    """A label map at another size, by nearest neighbour."""
    rows = (np.arange(height) + 0.5) * labels.shape[0] / height
    columns = (np.arange(width) + 0.5) * labels.shape[1] / width
    small: np.ndarray = labels[rows.astype(int)][:, columns.astype(int)]
    return small
