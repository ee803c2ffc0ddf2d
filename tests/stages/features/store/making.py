"""Real feature artifacts for tests: written by the writer, committed as the engine commits them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from stages.artifacts import layout
from stages.artifacts.commit import commit
from stages.features.store.writer import FeatureShardWriter
from stages.outcome import Done, Outcome
from stages.stage import WrittenShard

Shapes = Mapping[str, tuple[int, ...]]
TOKENS: Shapes = {"tokens": (6, 8)}


def features(video: str, frame: int, facet: str, shape: tuple[int, ...], view: str = "base") -> np.ndarray:
    """fp16 features that differ for every video, frame, facet and view, and are always the same."""
    seed = np.frombuffer(f"{video}|{frame}|{facet}|{view}".encode(), np.uint8)
    return np.random.default_rng(seed.tolist()).standard_normal(shape).astype(np.float16)


def source_frames(count: int) -> list[int]:
    """Frames as sampling leaves them: not every one, not from 0."""
    return [3 + 5 * i for i in range(count)]


def add_video(
    writer: FeatureShardWriter,
    video: str,
    count: int,
    shapes: Shapes = TOKENS,
    views: Sequence[str] = ("base",),
) -> None:
    for frame in source_frames(count):
        for view in views:
            for facet, shape in shapes.items():
                array = features(video, frame, facet, shape, view)
                writer.add(video, frame, frame / 25, facet, array, view)


def artifact_at(folder: Path) -> layout.Artifact:
    artifact = layout.Artifact(folder, "features", ".tar")
    if not artifact.exists():
        folder.mkdir(parents=True, exist_ok=True)
        layout.start(artifact, {"kind": "features", "name": folder.name}, layout.ShardLayout())
    return artifact


def write_shard(
    artifact: layout.Artifact,
    shard: str,
    videos: Mapping[str, int],
    shapes: Shapes = TOKENS,
    views: Sequence[str] = ("base",),
    encoding: str = "fp16",
) -> WrittenShard:
    """Write and commit one shard of ``videos`` (id -> number of frames)."""
    writer = FeatureShardWriter(artifact.root / "shards" / f".{shard}.tmp", shard, encoding)
    outcomes: list[Outcome] = []
    for video, count in videos.items():
        add_video(writer, video, count, shapes, views)
        writer.keep(video)
        outcomes.append(Done(video, {"frames": count}))
    written = writer.finish()
    commit(artifact, shard, written, outcomes)
    return written


def make_store(
    folder: Path,
    shards: Sequence[Mapping[str, int]],
    shapes: Shapes = TOKENS,
    views: Sequence[str] = ("base",),
    encoding: str = "fp16",
) -> layout.Artifact:
    artifact = artifact_at(folder)
    for number, videos in enumerate(shards):
        write_shard(artifact, f"{number:06d}", videos, shapes, views, encoding)
    return artifact
