"""A small pre-training on sprites: real mp4 files, a real catalog, a ViT-tiny."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

from stages.artifacts import layout
from stages.artifacts.commit import commit
from stages.catalog.listing import list_items
from stages.catalog.spec import DataSpec
from stages.catalog.stage import CatalogStage
from stages.learning.spec import TrainSpec
from stages.outcome import Done
from stages.pretraining.pretrain_stage import PretrainStage
from stages.pretraining.spec import PretrainSpec
from stages.sprites.files import write_clip
from stages.sprites.spec import SpritesSpec
from stages.stage import Limits, MemoryAttempts, WorkContext

SPRITES = SpritesSpec(level="L0", frames=12, size=(32, 32))
SMALL = PretrainSpec(
    model="videomae_vitt8", frames=4, stride=2, size=32, short_side=32, masked=0.75, decoder_width=24,
    decoder_depth=1, decoder_heads=2,
)  # fmt: skip
STAGE = PretrainStage(SMALL, TrainSpec(steps=4, batch=4, rate=1e-3, clip=1e9))


def corpus_in(folder: Path, clips: int = 4, damaged: bool = True) -> Path:
    """Sprites as mp4 files, catalogued; one more whose pictures are spoilt from the middle on."""
    videos = folder / "videos"
    videos.mkdir(parents=True)
    for index in range(clips + damaged):
        write_clip(folder / "made", SPRITES, index).replace(videos / f"v{index}.mp4")
    if damaged:
        path = videos / f"v{clips}.mp4"
        data = bytearray(path.read_bytes())
        at = data.index(b"mdat") + 4
        end = at - 8 + int.from_bytes(data[at - 8 : at - 4], "big")
        middle = (at + end) // 2
        data[middle:end] = bytes(end - middle)
        path.write_bytes(data)
    catalogued(folder / "catalog", videos)
    return folder


def catalogued(folder: Path, root: Path) -> None:
    """The catalog of all files in ``root``."""
    spec = DataSpec(name="videos")
    artifact = layout.Artifact(folder, "catalog", ".parquet")
    folder.mkdir(parents=True)
    layout.start(artifact, {"kind": "catalog", "name": folder.name}, layout.ShardLayout())
    stage = CatalogStage(spec)
    worker = stage.open(WorkContext(str(root), folder, limits=Limits()))
    writer, outcomes = stage.writer(folder / "shards" / ".000000.tmp", "000000"), []
    try:
        for outcome in worker.process(list_items(spec, str(root)), writer, MemoryAttempts()):
            outcomes.append(outcome)
            (writer.keep if isinstance(outcome, Done) else writer.discard)(outcome.video)
    finally:
        worker.close()
    commit(artifact, "000000", writer.finish(), outcomes)


def context_for(corpus: Path, **more: object) -> WorkContext:
    inputs = {"catalog": str(corpus / "catalog")}
    return WorkContext(str(corpus / "videos"), corpus, inputs=inputs, **more)


def lasting(steps: int) -> PretrainStage:
    """`STAGE` with another number of steps."""
    return replace(STAGE, train=replace(STAGE.train, steps=steps))


def main() -> None:
    """Train in this process, with a checkpoint after every step; told what by JSON on the command line."""
    corpus, checkpoints, folder, steps = json.loads(sys.argv[1])
    context = context_for(Path(corpus), checkpoints=Path(checkpoints), checkpoint_s=0.0)
    Path(folder).mkdir()
    lasting(steps).make([], Path(folder), context)


if __name__ == "__main__":
    main()
