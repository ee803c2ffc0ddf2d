"""One worker of the scores stage."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from pycocotools import mask as coco

from stages.artifacts import lineage
from stages.artifacts.table_writer import ParquetShardWriter
from stages.catalog.boxes import BoxTruth, read_boxes
from stages.catalog.rows import catalog_rows
from stages.catalog.truth import Truth, read_truth
from stages.discovery.video import CachedVideo, frame_layout, shard_features
from stages.evaluation.box_video import Comparison, found_video, protocols_of
from stages.evaluation.found_tubes import FoundTubes, Layout
from stages.labeling.named_stage import names_of
from stages.labeling.naming import UNNAMED
from stages.metrics.all_protocols import needs_masks
from stages.metrics.box_protocols import BOX_PROTOCOLS, gather
from stages.metrics.protocols import PROTOCOLS, ScoreOptions, score
from stages.metrics.tube_ap import Tube
from stages.outcome import Done, MediaError, Outcome, Rejected, Skipped
from stages.stage import UPSTREAM_SHARD, Attempts, Row, WorkContext
from stages.tubes.labels import label_maps, tube_frames
from stages.tubes.reader import TubeShard
from stages.tubes.table import NAMED

if TYPE_CHECKING:
    from stages.discovery.contract import Method, Segmentation
    from stages.evaluation.scores_stage import ScoresStage

NO_TRUTH = "no ground truth"
NO_OBJECT = "the ground truth shows no object in any of its frames"
_FEATURES = 1
"""Which stage of the chain has features."""
_NAMED_KINDS = 2
"""The first kinds of masks of named tubes, `NAMED` and the method's published one, have names; see
`stages.labeling.named_stage`."""


@dataclass(frozen=True)
class Annotation:
    """Ground truth of a video's frames in the forms that the protocols ask for.

    Attributes:
        ids: uint16 (T, H, W) without the borders, None where no protocol takes masks.
        void: bool (T, H, W), the same.
        boxes: None where no protocol takes boxes.
    """

    ids: np.ndarray | None
    void: np.ndarray | None
    boxes: BoxTruth | None

    @property
    def objects(self) -> int:
        """How many objects there are, of which box files may not tell more than how many a frame has."""
        if self.ids is not None:
            return int(np.count_nonzero(np.unique(self.ids)))
        frames = () if self.boxes is None else self.boxes.frames
        tracks = {int(track) for frame in frames for track in frame.tracks} - {-1}
        return max(len(tracks), *(len(frame.boxes) for frame in frames), 0)


class Candidate(ABC):
    """One set of tubes of a video, read or made when a protocol asks for it.

    Args:
        named: whether its tubes have names, in a recipe that gives any.
    """

    def __init__(self, name: str, named: bool) -> None:
        self.name, self.named = name, named

    @abstractmethod
    def label_map(self) -> np.ndarray:
        """The tube of every pixel, int16 (T, H, W)."""

    @abstractmethod
    def tubes(self) -> FoundTubes:
        """The tubes."""


class Stored(Candidate):
    """A kind of mask of the method."""

    def __init__(self, kind: str, shard: TubeShard, video: str) -> None:
        super().__init__(kind, named=kind in shard.kinds(video)[:_NAMED_KINDS])
        self._shard, self._video = shard, video

    def label_map(self) -> np.ndarray:
        """See `Candidate.label_map`."""
        return self._shard.label_map(self._video, self.name)

    def tubes(self) -> FoundTubes:
        """See `Candidate.tubes`; of named tubes those alone that have found a name."""
        rows, frames = self._shard.rows(self._video, self.name), self._shard.frames(self._video)
        return FoundTubes.of_rows(rows, frames, without=UNNAMED if self.name == NAMED else None)


class Trivial(Candidate):
    """A trivial row: a method without training, on the same features."""

    def __init__(self, method: Method, cached: CachedVideo, layout: Layout) -> None:
        super().__init__(method.name, named=False)
        self._method, self._cached, self._layout = method, cached, layout

    @cached_property
    def _found(self) -> Segmentation:
        return self._method.implement().segment({}, self._cached)

    def label_map(self) -> np.ndarray:
        """See `Candidate.label_map`."""
        return label_maps(self._found, self._kind, self._layout.native, self._layout.borders)

    def tubes(self) -> FoundTubes:
        """See `Candidate.tubes`."""
        native, borders = self._layout.native, self._layout.borders
        return FoundTubes.of_frames(tube_frames(self._found, self._kind, native, borders))

    @property
    def _kind(self) -> str:
        return next(iter(self._found.masks))


class ScoresWorker:
    """See `ShardWorker`. Scores are computed on frames without their black borders, as the tubes were.

    Args:
        stage: protocols and trivial rows.
        context: ``inputs`` name the artifacts ``catalog``, ``features`` and ``tubes``, and ``named`` where
            the recipe names tubes.
    """

    def __init__(self, stage: ScoresStage, context: WorkContext) -> None:
        self._stage, self._context = stage, context
        self._options = ScoreOptions(id_gap_bug=stage.spec.id_gap_bug)
        self._maps = [name for name in stage.spec.protocols if name in PROTOCOLS]
        self._others = [name for name in stage.spec.protocols if name in BOX_PROTOCOLS]
        self._names = names_of(context.inputs[NAMED]) if NAMED in context.inputs else ()
        self._takes = {BOX_PROTOCOLS[name].takes for name in self._others}

    def process(
        self, items: Sequence[Row], writer: ParquetShardWriter, attempts: Attempts
    ) -> Iterator[Outcome]:
        """One outcome per video with tubes, in order. Broken annotations make rejects, missing ones skips.

        So do annotations without an object, unless a protocol has something to say about that.
        """
        for item in items:
            row = catalog_rows(self._context.inputs["catalog"], item[UPSTREAM_SHARD])[item["video"]]
            if not row["truth"]:
                yield Skipped(item["video"], NO_TRUTH)
                continue
            try:
                yield self._score(item, row, writer)
            except MediaError as error:
                writer.discard(item["video"])
                yield Rejected.of(item["video"], error)

    def close(self) -> None:
        """Nothing is held open."""

    def _score(self, item: Row, row: Row, writer: ParquetShardWriter) -> Outcome:
        video, rows = item["video"], 0
        inputs = self._context.inputs
        tubes = TubeShard.open(inputs.get(NAMED, inputs["tubes"]), item[UPSTREAM_SHARD])
        annotation = self._annotation(row, frame_layout(item)[1], tubes.frames(video))
        comparison = self._comparison(item, tubes, annotation) if self._others else None
        for candidate in self._candidates(item, tubes, annotation.objects):
            try:
                found = [*self._on_maps(candidate, item, annotation), *self._on_tubes(candidate, comparison)]
            except ValueError as error:
                raise MediaError("annotation", f"{row['truth']}: {error}") from error
            rows += len(found)
            for entry in found:
                writer.add({"video": video, "candidate": candidate.name, **entry})
        if not annotation.objects and not rows:
            return Skipped(video, NO_OBJECT)
        return Done(video, {"objects": annotation.objects})

    def _on_maps(self, candidate: Candidate, item: Row, annotation: Annotation) -> list[dict[str, Any]]:
        """Scores in the protocols on label maps."""
        if not self._maps:
            return []
        assert annotation.ids is not None
        labels = inner(candidate.label_map(), frame_layout(item)[1])
        found = score(self._maps, labels, annotation.ids, annotation.void, self._options)
        return [
            {"protocol": s.protocol, "object": s.object, "value": float(s.value), "evidence": None}
            for s in found
        ]

    def _on_tubes(self, candidate: Candidate, comparison: Comparison | None) -> list[dict[str, Any]]:
        """Evidence for the protocols on boxes, tubes and words."""
        if comparison is None:
            return []
        names = protocols_of(self._others, comparison, candidate.named)
        if not names:
            return []
        found = gather(names, found_video(candidate.tubes(), comparison, names))
        return [
            {"protocol": e.protocol, "object": None, "value": e.value, "evidence": list(e.rows)}
            for e in found
        ]

    def _annotation(self, row: Row, borders: tuple[int, int, int, int], frames: np.ndarray) -> Annotation:
        root, wanted = self._context.data_root, [int(i) for i in frames]
        ids = void = boxes = None
        if any(needs_masks(name) for name in self._stage.spec.protocols):
            ids, void = inside(read_truth(root, row, wanted), borders)
        if self._takes & {"boxes", "words"}:
            boxes = read_boxes(root, row, wanted)
        return Annotation(ids, void, boxes)

    def _comparison(self, item: Row, tubes: TubeShard, annotation: Annotation) -> Comparison:
        video, layout = item["video"], Layout.of(item)
        raw = next(kind for kind in tubes.kinds(video) if kind != NAMED)
        frames = tubes.frames(video)
        counted = np.isin(frames, tubes.rows(video, raw)["frame"].to_numpy())
        objects: Sequence[Tube] = ()
        if "tubes" in self._takes:
            assert annotation.ids is not None
            objects = truth_tubes(annotation.ids, layout)
        return Comparison(layout, self._names, counted, annotation.boxes, objects)

    def _candidates(self, item: Row, tubes: TubeShard, objects: int) -> Iterator[Candidate]:
        """Every kind of mask of the method, then the trivial rows, which may know the number of objects."""
        video = item["video"]
        for kind in tubes.kinds(video):
            yield Stored(kind, tubes, video)
        if not self._stage.baselines:  # then features may be gone (`ScoresStage.reads_shards`)
            return
        shard = lineage.at(item[UPSTREAM_SHARD], _FEATURES)
        features = shard_features(self._context.inputs["features"], shard)
        cached = CachedVideo(features, video, tuple(item["grid"]))
        for method in self._stage.baselines:
            yield Trivial(method.knowing(objects), cached, Layout.of(item))


def truth_tubes(ids: np.ndarray, layout: Layout) -> list[Tube]:
    """Annotated objects as tubes, by rising id; masks are of the whole upright frame.

    Args:
        ids: (T, H, W) without the borders.
    """
    top, _, left, _ = layout.borders
    whole = np.zeros(layout.native, np.uint8, order="F")
    inner_part = whole[top : top + ids.shape[1], left : left + ids.shape[2]]
    objects = []
    for number in np.unique(ids[ids > 0]).tolist():
        masks: list[Any] = []
        for frame in ids == number:
            inner_part[:] = frame
            masks.append(coco.encode(whole) if frame.any() else None)
        objects.append(Tube(masks))
    return objects


def inner(maps: np.ndarray, borders: tuple[int, int, int, int]) -> np.ndarray:
    """Maps (T, H, W) without the borders (top, bottom, left, right)."""
    top, bottom, left, right = borders
    return maps[:, top : maps.shape[1] - bottom, left : maps.shape[2] - right]


def inside(truth: Truth, borders: tuple[int, int, int, int]) -> tuple[np.ndarray, np.ndarray | None]:
    """Ids and void of ``truth`` without the borders."""
    return inner(truth.ids, borders), None if truth.void is None else inner(truth.void, borders)
