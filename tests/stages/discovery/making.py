"""A method with two trainings that is small enough to see through, and artifacts to train it on."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from stages.artifacts import layout
from stages.artifacts.commit import commit
from stages.discovery.contract import Method
from stages.discovery.train_stage import TrainStage
from stages.features.store.samplers import Windows
from stages.features.store.writer import FeatureShardWriter
from stages.learning.schedules import cosine
from stages.learning.spec import TrainSpec
from stages.outcome import Done
from stages.stage import WorkContext, WrittenShard
from tests.stages.features.store.making import add_video, artifact_at

GRID = (2, 3)
SHAPES = {"tokens": (6, 8)}


@dataclass(frozen=True)
class ToyMethod(Method):
    """Two linear autoencoders, the second on what the first leaves over.

    ``nan_at`` spoils the loss of a step, in the process ``nan_rank`` alone; ``kill_at`` kills a process of
    the first training in a step, once: ``marker`` is a file that notes it; without one, each time.
    """

    name: ClassVar[str] = "toy"
    protocol: ClassVar[str] = "miou@solv"
    after_training: ClassVar[frozenset[str]] = frozenset({"threshold"})

    width: int = 4
    threshold: float = 0.5
    noise: float = 0.0
    nan_at: int = -1
    nan_rank: int = 0
    kill_at: int = -1
    marker: str = ""

    def fits(self):
        return ("first", "second")

    def clips(self, fit):
        return Windows(3, centred=True)

    def implement(self):
        return Toy(self)


class Toy:
    def __init__(self, method):
        self.method = method

    def model(self, fit, shape, done):
        return ToyModel(self.method, shape, done.get("first") if fit == "second" else None)

    def optimiser(self, fit, model, rate):
        mine = [p for p in model.parameters() if p.requires_grad]
        return torch.optim.Adam([{"params": mine[:1], "lr": rate}, {"params": mine[1:], "lr": rate / 2}])

    def schedule(self, fit, step, steps):
        return cosine(step, steps, 0.1)


class ToyModel(torch.nn.Module):
    """A `stages.discovery.contract.Trainable` with a frozen part, dropout, draws and an average."""

    def __init__(self, method, shape, before):
        super().__init__()
        self.method, self.before = method, before
        self.down = torch.nn.Linear(shape.width, method.width)
        self.up = torch.nn.Linear(method.width, shape.width)
        self.register_buffer("average", torch.zeros(shape.width))

    def forward(self, tokens):
        if self.before is not None:
            tokens = tokens - self.before(tokens)
        return self.up(self.down(tokens))

    def training_step(self, batch, progress, draws):
        rank = torch.distributed.get_rank() if torch.distributed.is_initialized() else 0
        self._maybe_die(progress, rank)
        tokens = batch.tokens
        if self.method.noise:
            noise = torch.randn(tokens.shape, generator=draws)
            tokens = tokens + self.method.noise * torch.nn.functional.dropout(noise, 0.5, self.training)
        error = (self(tokens) - batch.tokens).square().mean((1, 2, 3))
        loss = error.mean()
        if progress.step == self.method.nan_at and rank == self.method.nan_rank:
            loss = loss * float("nan")
        return {"loss": loss, "present": batch.available.float().mean()}

    def after_step(self, progress):
        with torch.no_grad():
            self.average.lerp_(self.up.bias, 0.1)

    def _maybe_die(self, progress, rank):
        """The last process dies."""
        world = torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1
        due = self.before is None and rank == world - 1 and progress.step == self.method.kill_at
        if due and not os.path.exists(self.method.marker):
            if self.method.marker:
                open(self.method.marker, "w").close()
            os.kill(os.getpid(), signal.SIGKILL)


def features_in(folder: Path, grids: dict[str, tuple[int, int]] | None = None, frames: int = 5) -> Path:
    """A features artifact in ``folder``; by default of four videos on the same grid."""
    grids = {f"v{i}": GRID for i in range(4)} if grids is None else grids
    artifact = artifact_at(folder)
    writer = FeatureShardWriter(folder / "shards" / ".000000.tmp", "000000")
    for video, (rows, columns) in grids.items():
        add_video(writer, video, frames, {"tokens": (rows * columns, 8)})
        writer.keep(video)
    outcomes = [Done(video, {"frames": frames, "grid": list(grid)}) for video, grid in grids.items()]
    commit(artifact, "000000", writer.finish(), outcomes)
    return folder


def catalog_in(folder: Path, truths: dict[str, str | None]) -> Path:
    """A catalog artifact that says where each video's ground truth is."""
    artifact = layout.Artifact(folder, "catalog", ".parquet")
    folder.mkdir(parents=True)
    layout.start(artifact, {"kind": "catalog", "name": folder.name}, layout.ShardLayout())
    table = pa.table({"video": list(truths), "truth": pa.array(list(truths.values()), pa.string())})
    path = folder / "shards" / ".000000.tmp"
    pq.write_table(table, path)
    rows = pa.table({"video": pa.array(list(truths))})
    commit(
        artifact, "000000", WrittenShard(path, path.stat().st_size, "", rows), [Done(v, {}) for v in truths]
    )
    return folder


def stage(method: Method | None = None, **train: object) -> TrainStage:
    return TrainStage(method or ToyMethod(), TrainSpec(**{"steps": 8, "batch": 4, "rate": 0.02, **train}))


def context_for(features: Path, **more: object) -> WorkContext:
    inputs = {"features": str(features), **more.pop("inputs", {})}
    return WorkContext("", features.parent, inputs=inputs, **more)


def trained(stage: TrainStage, folder: Path, context: WorkContext) -> dict[str, torch.Tensor]:
    """Run ``stage`` in this process and give back all weights."""
    folder.mkdir()
    stage.make([Path(context.inputs["features"])], folder, context)
    return weights(folder)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """All weights of a trained method, by fit and name."""
    from safetensors.torch import load_file

    return {f"{p.stem}.{k}": v for p in sorted(folder.glob("*.safetensors")) for k, v in load_file(p).items()}
