"""One worker of the tubes stage."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch

from stages.artifacts import whole
from stages.artifacts.place import place
from stages.catalog.rows import catalog_rows
from stages.discovery.device import resolve_device
from stages.discovery.video import CachedVideo, frame_layout, shard_features
from stages.errors import SettingsError
from stages.learning.models import load_models
from stages.outcome import Done, MediaError, Outcome, Rejected, Skipped
from stages.stage import UPSTREAM_SHARD, Attempts, Row, WorkContext
from stages.tubes.labels import add_tubes

if TYPE_CHECKING:
    from stages.discovery.tubes_stage import TubesStage
    from stages.tubes.writer import TubesWriter

NO_TRUTH = "no ground truth (tubes.only_annotated)"


class TubesWorker:
    """See `ShardWorker`. Memory holds the masks of one video; features are read piece by piece.

    Args:
        stage: the method.
        context: ``inputs`` name the artifacts ``catalog``, ``features`` and, if the method is trained,
        ``model``.

    Raises:
        SettingsError: the model is missing, or not of this method and these features.
    """

    def __init__(self, stage: TubesStage, context: WorkContext) -> None:
        torch.set_num_threads(context.threads)
        self._stage, self._inputs = stage, context.inputs
        self._device = resolve_device(context.device)
        self._implementation = stage.method.implement()
        self._models = self._load() if stage.method.fits() else {}

    def process(self, items: Sequence[Row], writer: TubesWriter, attempts: Attempts) -> Iterator[Outcome]:
        """One outcome per video with features, in order."""
        for item in items:
            row = catalog_rows(self._inputs["catalog"], item[UPSTREAM_SHARD])[item["video"]]
            if self._stage.only_annotated and not row["truth"]:
                yield Skipped(item["video"], NO_TRUTH)
            else:
                yield self._segmented(item, writer)

    def close(self) -> None:
        """Forget the models."""
        self._models = {}

    def _segmented(self, item: Row, writer: TubesWriter) -> Outcome:
        try:
            return self._segment(item, writer)
        except MediaError as error:
            writer.discard(item["video"])
            return Rejected.of(item["video"], error)

    def _segment(self, item: Row, writer: TubesWriter) -> Outcome:
        video = item["video"]
        features = shard_features(self._inputs["features"], item[UPSTREAM_SHARD])
        cached = CachedVideo(features, video, tuple(item["grid"]), self._device)
        with torch.no_grad():
            found = self._implementation.segment(self._models, cached)
        size, borders = frame_layout(item)
        frames, pts = features.frames(video)
        info: dict[str, Any] = {"frames": len(frames), "native": list(size), "borders": list(borders)}
        info |= {"size": item["size"], "grid": item["grid"], "clip": self._stage.method.clip_frames}
        info |= {"tubes": {}}
        for kind in found.masks:
            count = add_tubes(writer, video, found, kind, size, borders, frames, pts)
            info["tubes"][kind] = count
        return Done(video, info)

    def _load(self) -> dict[str, torch.nn.Module]:
        found = whole.files(place(self._inputs["model"]))
        if found is None:
            raise SettingsError(f"the model {self._inputs['model']} is not there yet: train it first")
        return load_models(found, self._stage.method, self._device)
