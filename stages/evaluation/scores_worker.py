"""One worker of the scores stage."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from stages.artifacts import lineage
from stages.artifacts.table_writer import ParquetShardWriter
from stages.catalog.rows import catalog_rows
from stages.catalog.truth import Truth, read_truth
from stages.discovery.video import CachedVideo, frame_layout, shard_features
from stages.metrics.protocols import ScoreOptions, score
from stages.outcome import Done, MediaError, Outcome, Rejected, Skipped
from stages.stage import UPSTREAM_SHARD, Attempts, Row, WorkContext
from stages.tubes.labels import label_maps
from stages.tubes.reader import TubeShard

if TYPE_CHECKING:
    from stages.discovery.contract import Method
    from stages.evaluation.scores_stage import ScoresStage

NO_TRUTH = "no ground truth"
NO_OBJECT = "the ground truth shows no object in any of its frames"


class ScoresWorker:
    """See `ShardWorker`. Scores are computed on frames without their black borders, as the tubes were.

    Args:
        stage: protocols and trivial rows.
        context: ``inputs`` name the artifacts ``catalog``, ``features`` and ``tubes``.
    """

    def __init__(self, stage: ScoresStage, context: WorkContext) -> None:
        self._stage, self._context = stage, context
        self._options = ScoreOptions(id_gap_bug=stage.spec.id_gap_bug)

    def process(
        self, items: Sequence[Row], writer: ParquetShardWriter, attempts: Attempts
    ) -> Iterator[Outcome]:
        """One outcome per video with tubes, in order. Broken annotations make rejects, missing ones skips.

        So do annotations without an object, unless a protocol has a score for that.
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
        video = item["video"]
        size, borders = frame_layout(item)
        tubes = TubeShard.open(self._context.inputs["tubes"], item[UPSTREAM_SHARD])
        truth = read_truth(self._context.data_root, row, [int(i) for i in tubes.frames(video)])
        ids, void = inside(truth, borders)
        objects, rows = int(np.count_nonzero(np.unique(ids))), 0
        for candidate, labels in self._candidates(item, tubes, size, borders, objects):
            try:
                scores = score(self._stage.spec.protocols, inner(labels, borders), ids, void, self._options)
            except ValueError as error:
                raise MediaError("annotation", f"{row['truth']}: {error}") from error
            rows += len(scores)
            for found in scores:
                writer.add(
                    {
                        "video": video,
                        "candidate": candidate,
                        "protocol": found.protocol,
                        "object": found.object,
                        "value": float(found.value),
                    }
                )
        if not objects and not rows:
            return Skipped(video, NO_OBJECT)
        return Done(video, {"objects": objects})

    def _candidates(
        self,
        item: Row,
        tubes: TubeShard,
        size: tuple[int, int],
        borders: tuple[int, int, int, int],
        objects: int,
    ) -> Iterator[tuple[str, np.ndarray]]:
        """Label maps, int16 (T, H, W): of every kind of mask of the method, then of the trivial rows,
        which may know the number of objects."""
        for kind in tubes.kinds(item["video"]):
            yield kind, tubes.label_map(item["video"], kind)
        if not self._stage.baselines:
            return
        upstream = lineage.above(item[UPSTREAM_SHARD])
        features = shard_features(self._context.inputs["features"], upstream)
        cached = CachedVideo(features, item["video"], tuple(item["grid"]))
        for method in self._stage.baselines:
            yield method.name, _labels(method.knowing(objects), cached, size, borders)


def _labels(
    method: Method, cached: CachedVideo, size: tuple[int, int], borders: tuple[int, int, int, int]
) -> np.ndarray:
    found = method.implement().segment({}, cached)
    return label_maps(found, next(iter(found.masks)), size, borders)


def inner(maps: np.ndarray, borders: tuple[int, int, int, int]) -> np.ndarray:
    """Maps (T, H, W) without the borders (top, bottom, left, right)."""
    top, bottom, left, right = borders
    return maps[:, top : maps.shape[1] - bottom, left : maps.shape[2] - right]


def inside(truth: Truth, borders: tuple[int, int, int, int]) -> tuple[np.ndarray, np.ndarray | None]:
    """Ids and void of ``truth`` without the borders."""
    return inner(truth.ids, borders), None if truth.void is None else inner(truth.void, borders)
