"""Small segmentations with known answers, and real artifacts of tubes made from them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from stages.artifacts import layout
from stages.artifacts.commit import commit
from stages.discovery.contract import Segmentation
from stages.outcome import Done, Outcome
from stages.tubes.labels import add_tubes
from stages.tubes.writer import TubesWriter

SIZE = (24, 40)


def random_segmentation(
    seed: int = 0, frames: int = 3, slots: int = 4, grid: tuple[int, int] = (3, 5), width: int = 6
) -> Segmentation:
    """Softmax masks, a few inactive slots, two slots of one tube: what a method may give."""
    draw = torch.Generator().manual_seed(seed)
    active = torch.rand((frames, slots), generator=draw) < 0.8
    active[:, 0] = True
    scores = 4 * torch.randn((frames, slots, *grid), generator=draw)
    masks = {}
    for number, kind in enumerate(("decoder", "attention")):
        each = (scores + number).roll(number, 0).masked_fill(~active[..., None, None], -torch.inf)
        masks[kind] = each.softmax(dim=1)
    identity = torch.arange(slots).expand(frames, slots).clone()
    identity[:, slots - 1] = 1
    identity[~active] = -1
    return Segmentation(masks, active, identity, torch.randn((frames, slots, width), generator=draw))


def squares(frames: int = 2, overlapping: bool = False) -> Segmentation:
    """Masks of 0 and 1 on a 4 x 4 grid: tube 3 is the left half, tube 7 the right, or rows that overlap."""
    masks = torch.zeros((frames, 2, 4, 4))
    if overlapping:
        masks[:, 0, :3], masks[:, 1, 1:] = 0.75, 1.0
    else:
        masks[:, 0, :, :2], masks[:, 1, :, 2:] = 1.0, 1.0
    identity = torch.tensor([3, 7]).expand(frames, 2).clone()
    return Segmentation(
        {"cluster": masks}, torch.ones((frames, 2), dtype=torch.bool), identity, None, overlapping
    )


def source_frames(count: int) -> np.ndarray:
    return np.array([3 + 5 * i for i in range(count)])


def add_video(writer: TubesWriter, video: str, found: Segmentation, size=SIZE, borders=None) -> None:
    frames = source_frames(len(found.active))
    for kind in found.masks:
        add_tubes(writer, video, found, kind, size, borders, frames, frames / 25)


def artifact_at(folder: Path) -> layout.Artifact:
    artifact = layout.Artifact(folder, "tubes", ".parquet")
    if not artifact.exists():
        folder.mkdir(parents=True, exist_ok=True)
        layout.start(artifact, {"kind": "tubes", "name": folder.name}, layout.ShardLayout())
    return artifact


def write_shard(
    artifact: layout.Artifact, shard: str, videos: Mapping[str, Segmentation], upstream: str = "", **options
) -> None:
    """Write and commit one shard."""
    writer = TubesWriter(artifact.root / "shards" / f".{shard}.tmp", shard)
    outcomes: list[Outcome] = []
    for video, found in videos.items():
        add_video(writer, video, found, **options)
        writer.keep(video)
        outcomes.append(Done(video, {"frames": len(found.active)}))
    commit(artifact, shard, writer.finish(), outcomes, upstream)


def make_store(folder: Path, videos: Mapping[str, Segmentation], **options) -> layout.Artifact:
    artifact = artifact_at(folder)
    write_shard(artifact, "000000-00", videos, **options)
    return artifact
