"""Masked pre-training through the one training loop: clips in, `videomae.safetensors` out."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors.torch import save_file
from torch import Tensor

from stages.artifacts.layout import Artifact
from stages.artifacts.ledger import current_videos
from stages.artifacts.place import Place, matches
from stages.catalog.rows import catalog_rows
from stages.discovery.contract import Batch, Progress
from stages.discovery.device import resolve_device
from stages.errors import SettingsError
from stages.learning import loop
from stages.learning.checkpoint import State, tensors_of
from stages.learning.history import write_history
from stages.pretraining.masked_video import MaskedVideo, make_optimiser, tube_mask
from stages.pretraining.pretrain_stage import DESCRIPTION, KIND, PretrainStage
from stages.pretraining.schedule import warmup_cosine
from stages.pretraining.spec import PretrainSpec
from stages.pretraining.streaming import CLIPS, Rejects, StreamLoader
from stages.stage import Row, WorkContext, canonical


class Pretraining(MaskedVideo):
    """A `stages.discovery.contract.Trainable`: clips of pixels, masked as tubes.

    Args:
        spec: sizes and share of hidden patches.
    """

    def __init__(self, spec: PretrainSpec) -> None:
        super().__init__(spec.sizes(), spec.decoder())
        self.side, self.masked = spec.size, spec.masked

    def training_step(self, batch: Batch, progress: Progress, draws: torch.Generator) -> dict[str, Tensor]:
        """The reconstruction loss of the hidden patches (methods sheet 1.3)."""
        pixels = batch.features[CLIPS]
        frames = pixels.unflatten(2, (self.side, self.side)).permute(0, 4, 1, 2, 3)  # (B, 3, T, H, W)
        video = (frames / 255 - self.mean) / self.deviation
        mask = tube_mask(len(pixels), pixels.shape[1], batch.shape.tokens, self.masked, draws)
        return {"loss": self.loss(video, mask.to(pixels.device))}

    def after_step(self, progress: Progress) -> None:
        """Nothing: there is no teacher."""


def pretrain(stage: PretrainStage, folder: Path, context: WorkContext) -> None:
    """Train and write into ``folder``; see `PretrainStage`.

    Raises:
        SettingsError: no video is there, or batches can't be shared by the processes.
    """
    torch.set_num_threads(context.threads)
    loop.check_shared(stage.train)
    rows = videos_of(context.inputs["catalog"])
    own = folder / "checkpoints"
    checkpoints = context.checkpoints or own
    place = loop.Place(
        checkpoints / KIND, resolve_device(context.device), context.checkpoint_s, context.report
    )
    rejects = Rejects.at(checkpoints / KIND / f"rejects-{place.rank}.jsonl")
    torch.manual_seed(stage.train.seed)
    model = Pretraining(stage.pretrain).to(place.device)

    def loader(seen: int) -> StreamLoader:
        return StreamLoader(stage, rows, context, rejects, seen, place.device, place.rank, place.world)

    task = loop.Task(
        KIND,
        model,
        make_optimiser(model, stage.train.rate),
        partial(warmup_cosine, warmup=stage.pretrain.warmup),
        loader,
        len(rows),
        loop.identity_text({**stage.identity(), "videos": _digest(rows)}),
    )
    state = loop.train(task, stage.train, place)
    if place.world > 1:
        torch.distributed.barrier()  # the others' rejects are complete
    if place.rank == 0:
        _write(stage, rows, model, state, folder, checkpoints)
        shutil.rmtree(own, ignore_errors=True)  # published weights have no use for them


def videos_of(catalog: str) -> list[Row]:
    """The catalog's current videos, sorted by id.

    Raises:
        SettingsError: there is none.
    """
    current = current_videos(Artifact.at(catalog)).sort_by("shard")  # a shard is read once
    rows = [
        catalog_rows(catalog, shard)[video]
        for video, shard in zip(current["video"].to_pylist(), current["shard"].to_pylist(), strict=True)
    ]
    rows.sort(key=itemgetter("video"))
    if not rows:
        raise SettingsError("no video is there to train on: all were rejected or skipped; see --explain")
    return rows


def _digest(rows: list[Row]) -> str:
    return hashlib.sha256("\n".join(row["video"] for row in rows).encode()).hexdigest()[:16]


def _write(
    stage: PretrainStage, rows: list[Row], model: Pretraining, state: State, folder: Path, checkpoints: Place
) -> None:
    save_file(tensors_of(model), folder / f"{KIND}.safetensors")
    figures = write_history(folder, {KIND: state}, checkpoints)
    found = [
        reason
        for path in matches(checkpoints / KIND, "rejects-*.jsonl")
        for reason in Rejects.at(path).read(state.seen)
    ]
    _write_rejects(folder / "rejects.parquet", found)
    content: dict[str, Any] = {
        "model": stage.name,
        "sizes": canonical(stage.pretrain.sizes()),
        "pretrain": canonical(stage.pretrain),
        "train": canonical(stage.train),
        "training": figures[KIND],
        "videos": len(rows),
        "videos_digest": _digest(rows),
        "videos_rejected": len({video for video, _, _ in found}),
        "clips_passed_over": dict(Counter(error_class for _, error_class, _ in found)),
    }
    (folder / DESCRIPTION).write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")


def _write_rejects(path: Path, found: list[tuple[str, str, str]]) -> None:
    """One row per video and reason, with the number of clips that were passed over for it."""
    counts = Counter(found)
    columns = list(zip(*sorted(counts), strict=True)) or [(), (), ()]
    names = ("video", "error_class", "message")
    table = {name: pa.array(values, pa.string()) for name, values in zip(names, columns, strict=True)}
    table["clips"] = pa.array([counts[key] for key in sorted(counts)], pa.int64())
    pq.write_table(pa.table(table), path)
