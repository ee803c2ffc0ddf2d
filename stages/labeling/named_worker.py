"""One worker of the named stage: names, filter and merging, video by video."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch

from stages.artifacts import lineage, whole
from stages.artifacts.layout import Artifact
from stages.artifacts.place import parts_of_file
from stages.discovery.video import frame_layout
from stages.labeling import naming
from stages.labeling.clip_model import load_clip
from stages.labeling.embeddings_worker import clip_of, handed_on, tubes_by_frame
from stages.labeling.merging import Merged, merge
from stages.labeling.prompts import prompts
from stages.labeling.text_cache import TEXT_FOLDER, TextFeatures, cached_text_features
from stages.labeling.touching import touching_tubes, tubes_by_clip
from stages.outcome import Done, Outcome
from stages.stage import UPSTREAM_SHARD, Attempts, Row, WorkContext
from stages.tubes.reader import TubeShard
from stages.tubes.table import NAMED, tubes_of
from stages.tubes.union import united
from stages.tubes.writer import TubeFrame, TubeName, TubesWriter

if TYPE_CHECKING:
    from stages.labeling.named_stage import NamedStage


class NamedWorker:
    """See `ShardWorker`. Nothing is decoded, and no image is looked at.

    Args:
        stage: names and rules.
        context: ``inputs`` name the artifacts ``tubes``, ``embeddings`` and, where the recipe trains it,
            ``clip``.

    Raises:
        SettingsError: the model can't be had as described.
    """

    def __init__(self, stage: NamedStage, context: WorkContext) -> None:
        torch.set_num_threads(context.threads)
        self._stage, self._inputs = stage, context.inputs
        self._text = text_features(stage, context).features

    def process(self, items: Sequence[Row], writer: TubesWriter, attempts: Attempts) -> Iterator[Outcome]:
        """One outcome per video with embeddings, in order."""
        for item in items:
            yield self._name(item, writer)

    def close(self) -> None:
        """Nothing is held open."""

    def _name(self, item: Row, writer: TubesWriter) -> Outcome:
        video, upstream = item["video"], item[UPSTREAM_SHARD]
        tubes = TubeShard.open(self._inputs["tubes"], lineage.above(upstream))
        kind, *others = tubes.kinds(video)
        numbers, pooled = embeddings_of(self._inputs["embeddings"], upstream, video, self._text.shape[1])
        logits = naming.text_logits(torch.from_numpy(pooled), self._text)
        merged, kept = self._merged(item, tubes, numbers, logits)
        together = naming.text_logits(torch.from_numpy(merged.sums(pooled)), self._text)
        groups = [[numbers[i] for i in members] for members in merged.members]
        frames, slots = _read(tubes, video, kind)
        counts: dict[str, int] = {}
        whole_tubes, vectors = united(frames, slots, groups, tubes.size(video))
        named = self._names(together, groups, kept)
        counts[NAMED] = _add(writer, tubes, video, NAMED, whole_tubes, vectors, named)
        alone = self._names(logits, [[number] for number in numbers], ())
        counts[kind] = _add(writer, tubes, video, kind, frames, slots, alone)
        for other in others:
            counts[other] = _add(writer, tubes, video, other, *_read(tubes, video, other), None)
        return Done(video, handed_on(item) | {"tubes": counts})

    def _merged(
        self, item: Row, tubes: TubeShard, numbers: Sequence[int], logits: torch.Tensor
    ) -> tuple[Merged, set[int]]:
        """What becomes of the M tubes: every one is in one group. And the groups that get their best name,
        whether it fits or not.
        """
        stage, targets = self._stage, self._stage.vocabulary.targets
        fitting = naming.fits(logits, targets, stage.threshold).numpy()
        read = stage.keep_one or stage.merge
        by_frame = tubes_by_frame(tubes, item["video"]) if read else {}
        frames = tubes.frames(item["video"]).tolist()
        alone: set[int] = set()
        if stage.keep_one:
            for clip in tubes_by_clip(frames, by_frame, numbers, stage.frames):
                keep = naming.keep_foreground(logits[clip], targets, stage.threshold).numpy()
                alone |= {i for i, k in zip(clip, keep, strict=True) if k and not fitting[i]}
        groups: tuple[tuple[int, ...], ...] = tuple((i,) for i in range(len(numbers)))
        if stage.merge:
            layout = (*frame_layout(item), tuple(item["grid"]))
            touch = touching_tubes(frames, by_frame, numbers, layout, stage.adjacency, stage.frames)
            together = merge(touch, naming.class_of(logits, targets).numpy(), fitting)
            rest = [(i,) for i in np.flatnonzero(~fitting).tolist()]
            groups = tuple(sorted([*together.members, *rest]))
        result = Merged(groups, len(numbers))
        return result, {place for place, members in enumerate(groups) if members[0] in alone}

    def _names(
        self, logits: torch.Tensor, groups: Sequence[Sequence[int]], kept: Sequence[int] | set[int]
    ) -> list[TubeName]:
        """One name per group of tubes, in order."""
        stage = self._stage
        classes = naming.class_scores(logits, stage.vocabulary.targets).numpy()
        named = naming.name_masks(logits, stage.vocabulary, stage.threshold)
        found = []
        for place, (name, members) in enumerate(zip(named, groups, strict=True)):
            label, score = name.top[0] if place in kept else (name.name, name.score)
            found.append(
                TubeName(
                    label, score, name.top, name.background, tuple(members),
                    classes[place] if name.top else None,
                )
            )  # fmt: skip
        return found


def text_features(stage: NamedStage, context: WorkContext) -> TextFeatures:
    """The features of the vocabulary; of all workers that want them, one runs the text encoder."""
    spec, texts = clip_of(stage.clip, context), stage.vocabulary.texts
    folder = context.scratch / TEXT_FOLDER

    def encode(sentences: Sequence[str]) -> TextFeatures:
        model = load_clip(spec)
        return TextFeatures(model.text_features(sentences), model.truncated(sentences))

    with whole.exclusively(folder):
        return cached_text_features(folder, spec.identity(), prompts(texts, stage.prompt), texts, encode)


def embeddings_of(folder: str, shard: str, video: str, width: int) -> tuple[list[int], np.ndarray]:
    """The M tubes of a video, rising, and the sums of their embeddings, float32 (M, ``width``)."""
    table = _embeddings(folder, shard)
    rows = table.filter(pc.equal(table["video"], video)).combine_chunks()
    sums = [chunk.flatten().to_numpy() for chunk in rows["embedding"].chunks]
    found = np.concatenate([np.zeros(0, np.float32), *sums]).reshape(rows.num_rows, width)
    return rows["tube"].to_pylist(), found


@lru_cache(maxsize=2)
def _embeddings(folder: str, shard: str) -> pa.Table:
    return pq.read_table(
        parts_of_file(Artifact.at(folder).shard(shard)), columns=["video", "tube", "embedding"]
    )


def _add(
    writer: TubesWriter,
    tubes: TubeShard,
    video: str,
    mask: str,
    found: Sequence[TubeFrame],
    slots: Mapping[int, np.ndarray] | None,
    names: Sequence[TubeName] | None,
) -> int:
    """Add the tubes of one kind of masks; says how many there are."""
    numbers = sorted({frame.tube for frame in found})
    named = None if names is None else dict(zip(numbers, names, strict=True))
    frames, times = tubes.frames(video), tubes.times(video)
    writer.add(video, mask, tubes.size(video), frames, times, found, slots, named)
    return len(numbers)


def _read(tubes: TubeShard, video: str, kind: str) -> tuple[list[TubeFrame], dict[int, np.ndarray] | None]:
    """The tubes of one kind of masks frame by frame, and their slot vectors where they have any."""
    places = {frame: place for place, frame in enumerate(tubes.frames(video).tolist())}
    columns = ["tube", "frame", "rle", "box", "area", "score"]
    rows = tubes.rows(video, kind)
    frames = [
        TubeFrame(row["tube"], places[row["frame"]], row["rle"], tuple(row["box"]), row["area"], row["score"])
        for row in rows.select(columns).to_pylist()
    ]
    table = tubes_of(rows).select(["tube", "slot"])
    if table["slot"].null_count or not table.num_rows:
        return frames, None
    return frames, {row["tube"]: np.array(row["slot"], np.float32) for row in table.to_pylist()}
