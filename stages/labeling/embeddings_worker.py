"""One worker of the embeddings stage: frames from a decoder child, looked at with CLIP tube by tube."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from stages.artifacts.place import place
from stages.artifacts.table_writer import ParquetShardWriter
from stages.catalog.decoding import decode_rows
from stages.catalog.rows import catalog_rows
from stages.decode.client import DecodedVideo, DecoderClient
from stages.decode.spec import Geometry
from stages.discovery.device import resolve_device
from stages.discovery.video import frame_layout
from stages.labeling.clip_hub import release_file
from stages.labeling.clip_model import ClipModel, load_clip
from stages.labeling.clip_spec import ClipSpec
from stages.labeling.looks import Crops, Look, Patches, Seen
from stages.outcome import Done, MediaError, Outcome, Rejected
from stages.stage import UPSTREAM_SHARD, Attempts, Row, WorkContext
from stages.tubes.reader import TubeShard

if TYPE_CHECKING:
    from stages.labeling.embeddings_stage import EmbeddingsStage


class EmbeddingsWorker:
    """See `ShardWorker`. Memory holds a chunk of frames and one vector per tube of a video.

    Args:
        stage: what is looked at, and with what.
        context: ``inputs`` name the artifacts ``catalog``, ``tubes`` and, where the recipe trains them,
            ``clip`` and ``branch``.

    Raises:
        SettingsError: the model or the branch can't be had as described.
    """

    def __init__(self, stage: EmbeddingsStage, context: WorkContext) -> None:
        torch.set_num_threads(context.threads)
        self._stage, self._context = stage, context
        spec = clip_of(stage.clip, context)
        model = load_clip(spec, resolve_device(context.device))
        self._look = _look(stage, context, spec, model)
        self._client = DecoderClient(context.limits)

    def process(
        self, items: Sequence[Row], writer: ParquetShardWriter, attempts: Attempts
    ) -> Iterator[Outcome]:
        """One outcome per video with tubes, in order; a file that can't be decoded any more is rejected."""
        catalog = self._context.inputs["catalog"]
        rows = [
            catalog_rows(catalog, item[UPSTREAM_SHARD])[item["video"]] for item in items if _has_tubes(item)
        ]
        decode, geometry = self._stage.decode, self._look.geometry
        root, client, chunk = self._context.data_root, self._client, self._look.chunk
        videos = decode_rows(client, root, rows, decode, geometry, chunk, attempts)
        for item in items:
            try:
                yield self._embed(item, next(videos), writer) if _has_tubes(item) else _done(item)
            except MediaError as error:
                yield Rejected.of(item["video"], error)

    def close(self) -> None:
        """End the decoder child."""
        self._client.close()

    def _embed(self, item: Row, video: DecodedVideo | MediaError, writer: ParquetShardWriter) -> Outcome:
        if isinstance(video, MediaError):
            raise video
        tubes = TubeShard.open(self._context.inputs["tubes"], item[UPSTREAM_SHARD])
        found = _Sums(self._look.width)
        for numbers, vectors in self._look.vectors(self._seen(item, tubes, video)):
            found.add(numbers, vectors)
        kind = tubes.kinds(item["video"])[0]
        for tube in np.unique(tubes.rows(item["video"], kind, ("tube",))["tube"]).tolist():
            writer.add({"video": item["video"], "tube": tube, **found.row(tube)})
        return _done(item)

    def _seen(self, item: Row, tubes: TubeShard, video: DecodedVideo) -> Iterator[Seen]:
        """The frames that are looked at, with the tubes in each."""
        size, borders = frame_layout(item)
        by_frame = tubes_by_frame(tubes, item["video"])
        wanted = set(tubes.frames(item["video"])[:: self._stage.step].tolist())
        for chunk in video:
            for frame, rgb in zip(chunk.index.tolist(), chunk.rgb, strict=True):
                if frame in wanted and frame in by_frame:
                    yield Seen(rgb, by_frame[frame], size, borders)


def _has_tubes(item: Row) -> bool:
    return sum(item["tubes"].values()) > 0


def _done(item: Row) -> Done:
    return Done(item["video"], handed_on(item))


def handed_on(item: Row) -> dict[str, Any]:
    """What an item says of its video (sizes, grid, tubes), for the outcome that the next stage reads."""
    return {key: value for key, value in item.items() if key not in ("video", UPSTREAM_SHARD)}


class _Sums:
    """Vectors added up by tube."""

    def __init__(self, width: int) -> None:
        self._width = width
        self._sums: dict[int, Tensor] = {}
        self._frames: dict[int, int] = {}

    def add(self, numbers: Sequence[int], vectors: Tensor) -> None:
        for number, vector in zip(numbers, vectors, strict=True):
            self._sums[number] = self._sums.get(number, 0) + vector.double()
            self._frames[number] = self._frames.get(number, 0) + 1

    def row(self, tube: int) -> dict[str, object]:
        found = self._sums.get(tube, torch.zeros(self._width, dtype=torch.float64))
        return {"frames": self._frames.get(tube, 0), "embedding": found.float().tolist()}


def tubes_by_frame(tubes: TubeShard, video: str) -> Mapping[int, list[Row]]:
    """The tubes of the video's published masks in every frame that has any: ``tube``, ``rle``, ``box``."""
    found: dict[int, list[Row]] = {}
    rows = tubes.rows(video, tubes.kinds(video)[0], ("tube", "frame", "rle", "box"))
    for row in rows.drop(["video", "mask"]).to_pylist():
        found.setdefault(row["frame"], []).append(row)
    return found


def clip_of(spec: ClipSpec | None, context: WorkContext) -> ClipSpec:
    """The model to use: ``spec``, or the one that the recipe has trained."""
    return ClipSpec(model=context.inputs["clip"]) if spec is None else spec


def check_clip(stage: EmbeddingsStage, spec: ClipSpec, context: WorkContext) -> None:
    """What a worker will need, without a worker: the file of the weights; with a branch, that it fits them.

    Raises:
        SettingsError: the model or the branch can't be had as described.
    """
    if stage.by == "patches" and stage.branch:
        _look(stage, context, spec, load_clip(spec))
    elif spec.weights == "hub" and spec.weights_file() is None:
        release_file(spec)


def _look(stage: EmbeddingsStage, context: WorkContext, spec: ClipSpec, model: ClipModel) -> Look:
    if stage.by == "crops":
        return Crops(model, stage.margin, Geometry())
    from stages.labeling.clip_patches import PatchTower

    tower = PatchTower(model.visual, spec.model)
    branch = None
    if stage.by == "patches":
        from stages.labeling.branch_files import load_branch

        branch = load_branch(place(stage.branch or context.inputs["branch"]).expanduser(), tower, spec)
    side = stage.size or min(model.size)
    return Patches(model, tower, branch, stage.imagenet_norm, Geometry(side, max(tower.patch)))
