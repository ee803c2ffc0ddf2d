"""All fits of a method, trained one after the other on the features of an artifact."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch

from stages.artifacts import manifest
from stages.artifacts.layout import Artifact
from stages.artifacts.ledger import Ledger
from stages.artifacts.place import Place, parts_of_file
from stages.discovery.contract import Batch, FeatureShape
from stages.discovery.device import resolve_device
from stages.discovery.sample import sample_of
from stages.errors import SettingsError
from stages.features.backbones.table import frames_together
from stages.features.store.reader import FeatureStore
from stages.features.store.samplers import ClipSampler
from stages.learning import loop
from stages.learning.batches import BatchOrder, Grids
from stages.learning.checkpoint import State
from stages.learning.data import ClipLoader, feature_shape
from stages.learning.history import write_history
from stages.learning.models import save_models
from stages.stage import WorkContext, canonical

if TYPE_CHECKING:
    from stages.discovery.train_stage import TrainStage


@dataclass(frozen=True)
class Corpus:
    """What is trained on.

    Attributes:
        store: the features.
        shape: of their patch tokens; of the first video's, where the method takes any grid.
        training, held_out: ids of the videos.
        grids: rows and columns of patches of every video.
    """

    store: FeatureStore
    shape: FeatureShape
    training: tuple[str, ...]
    held_out: tuple[str, ...]
    grids: Grids


def train_method(stage: TrainStage, folder: Path, context: WorkContext) -> None:
    """Train all fits and write them into ``folder``; see `TrainStage`."""
    torch.set_num_threads(context.threads)
    loop.check_shared(stage.train)
    corpus = gather(stage, context)
    implementation = stage.method.implement()
    models: dict[str, torch.nn.Module] = {}
    states: dict[str, State] = {}
    own = folder / "checkpoints"
    checkpoints = context.checkpoints or own
    for fit in stage.method.fits():
        place = loop.Place(
            checkpoints / fit, resolve_device(context.device), context.checkpoint_s, context.report
        )
        torch.manual_seed(stage.train.seed)
        model = implementation.model(fit, corpus.shape, models).to(place.device)
        if stage.method.wants_encoder:
            model.encoder = _encoder(stage, corpus.shape, place.device)
        task = loop.Task(
            fit,
            model,
            implementation.optimiser(fit, model, stage.train.rate),
            partial(implementation.schedule, fit),
            partial(_loader, stage, corpus, fit, place),
            BatchOrder(_sampler(stage, corpus, fit, corpus.training), stage.train.batch, corpus.grids).clips,
            loop.identity_text({**stage.identity(), "shape": vars(corpus.shape), "videos": _digest(corpus)}),
            partial(_validation, stage, corpus, fit, place) if corpus.held_out else None,
        )
        states[fit] = loop.train(task, stage.train, place)
        models[fit] = model.eval().requires_grad_(False)
    if not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0:
        _write(stage, corpus, models, states, folder, checkpoints)
        shutil.rmtree(own, ignore_errors=True)  # a published model has no use for them


def _encoder(stage: TrainStage, shape: FeatureShape, device: str) -> Any:
    """The frozen backbone: on a part of a frame's tokens, or on whole clips if that is how it encodes
    them.
    """
    from stages.features.backbones.online import clip_encoder, kept_encoder

    if stage.backbone is None:
        raise SettingsError(f"method {stage.method.name} needs the backbone in training, and none is given")
    make = kept_encoder if frames_together(stage.backbone.name) == 1 else clip_encoder
    return make(stage.backbone, device, (shape.rows, shape.columns), stage.method.facets[0])


def gather(stage: TrainStage, context: WorkContext) -> Corpus:
    """The videos to train on and the shape they share.

    Raises:
        SettingsError: nothing is left, or grids differ and the method needs one.
    """
    artifact = Artifact.at(context.inputs["features"])
    store = FeatureStore(artifact.root, verify=True)
    excluded = annotated(context.inputs["catalog"]) if stage.train.exclude_annotated else set()
    videos = [video for video in store.videos if video not in excluded]
    if stage.videos:
        videos = sample_of(videos, Artifact.at(context.inputs["catalog"]), artifact, stage.videos)
    held_out = [video for video in videos if _drawn(video) < stage.train.hold_out]
    training = [video for video in videos if _drawn(video) >= stage.train.hold_out]
    found, facet, any_grid = grids(artifact), stage.method.facets[0], stage.method.any_grid
    shape = feature_shape(store, training, found, facet, any_grid)
    if held_out:
        feature_shape(store, [training[0], *held_out], found, facet, any_grid)
    return Corpus(store, shape, tuple(training), tuple(held_out), found)


def grids(artifact: Artifact) -> dict[str, tuple[int, int]]:
    """Rows and columns of the patches of every video with features."""
    found: dict[str, tuple[int, int]] = {}
    for shard in artifact.committed():
        for outcome in manifest.read_footer(artifact.manifest(shard)).outcomes:
            if outcome["status"] == "done":
                rows, columns = outcome["info"]["grid"]
                found[outcome["video"]] = (rows, columns)
    return found


def annotated(catalog: str) -> set[str]:
    """Videos that have ground truth."""
    artifact = Artifact.at(catalog)
    found: set[str] = set()
    for shard in Ledger.load(artifact).shards:
        table = pq.read_table(parts_of_file(artifact.shard(shard)), columns=["video", "truth"])
        found |= set(table.filter(pc.is_valid(table["truth"]))["video"].to_pylist())
    return found


def _drawn(video: str) -> float:
    """A number in [0, 1) that depends on the video's id alone."""
    return int.from_bytes(hashlib.sha256(video.encode()).digest()[:8], "big") / 2**64


def _digest(corpus: Corpus) -> str:
    return hashlib.sha256("\n".join(corpus.training).encode()).hexdigest()[:16]


def _sampler(stage: TrainStage, corpus: Corpus, fit: str, videos: Sequence[str]) -> ClipSampler:
    view, _ = stage.method.streams[0]
    return ClipSampler(corpus.store, stage.method.clips(fit), stage.train.seed, videos=videos, view=view)


def _loader(stage: TrainStage, corpus: Corpus, fit: str, place: loop.Place, seen: int) -> ClipLoader:
    sampler = _sampler(stage, corpus, fit, corpus.training)
    return ClipLoader(
        corpus.store, sampler, stage.method.streams, corpus.shape, stage.train.batch, seen, place.device,
        place.rank, place.world, corpus.grids,
    )  # fmt: skip


def _validation(stage: TrainStage, corpus: Corpus, fit: str, place: loop.Place) -> Iterator[Batch]:
    """Held-out clips once, in whole batches, which repeat some where grids differ."""
    sampler = _sampler(stage, corpus, fit, corpus.held_out)
    batch = min(stage.train.batch, len(sampler))
    loader = ClipLoader(
        corpus.store, sampler, stage.method.streams, corpus.shape, batch, device=place.device,
        grids=corpus.grids,
    )  # fmt: skip
    try:
        for _ in range(BatchOrder(sampler, batch, corpus.grids).clips // batch):
            yield loader.next()
    finally:
        loader.close()


def _write(
    stage: TrainStage,
    corpus: Corpus,
    models: dict[str, torch.nn.Module],
    states: dict[str, State],
    folder: Path,
    checkpoints: Place,
) -> None:
    figures = write_history(folder, states, checkpoints)
    more = {
        "train": canonical(stage.train),
        "training": figures,
        "videos": len(corpus.training),
        "videos_digest": _digest(corpus),
        "held_out": len(corpus.held_out),
    }
    save_models(folder, stage.method, corpus.shape, models, more)
