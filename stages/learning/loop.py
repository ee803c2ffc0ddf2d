"""The one training loop: plain torch, in one process or in several that share the gradient."""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from stages.discovery.contract import Batch, Progress
from stages.errors import SettingsError
from stages.learning import checkpoint
from stages.learning.data import ClipLoader
from stages.learning.spec import TrainSpec

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

LOGGED = 500
"""Points of a loss curve."""
_PRIMES = (1_000_003, 7_919)


class DivergedError(SettingsError):
    """The loss is no number any more."""


@dataclass(frozen=True)
class Place:
    """Where and how one process trains; nothing in here changes the model, except through rounding.

    Attributes:
        checkpoints: folder of the fit's checkpoints.
        device: ``cpu`` or ``cuda``.
        every_s: seconds between two checkpoints.
        report: called with figures by name whenever there are new ones.
    """

    checkpoints: Path
    device: str = "cpu"
    every_s: float = 60.0
    report: Callable[[Mapping[str, float]], None] | None = None

    @property
    def rank(self) -> int:
        """Number of this process."""
        return dist.get_rank() if dist.is_initialized() else 0

    @property
    def world(self) -> int:
        """How many processes train together."""
        return dist.get_world_size() if dist.is_initialized() else 1


@dataclass
class Task:
    """One fit of a method.

    Attributes:
        name: of the fit.
        model: a `stages.discovery.contract.Trainable`, fresh.
        optimiser: of it, at the peak rate.
        schedule: factor on the peak rate by step and steps.
        loader: given the clips consumed before, the batches that follow.
        clips: clips per epoch, over all processes.
        identity: what is trained on what, as JSON.
        validation: batches on which the loss is reported.
    """

    name: str
    model: nn.Module
    optimiser: torch.optim.Optimizer
    schedule: Callable[[int, int], float]
    loader: Callable[[int], ClipLoader]
    clips: int
    identity: str
    validation: Callable[[], Iterator[Batch]] | None = None


class _Step(nn.Module):
    """A training step as a forward pass, which is what distributed training wraps."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Batch, progress: Progress, draws: torch.Generator) -> dict[str, Tensor]:
        losses: dict[str, Tensor] = self.model.training_step(batch, progress, draws)  # type: ignore[operator]
        return losses


def train(task: Task, spec: TrainSpec, place: Place) -> checkpoint.State:
    """Train ``task.model`` in place, from its latest checkpoint on.

    Killed at any point and started again, the same command ends with the same weights, bit by bit on a CPU.

    Raises:
        DivergedError: the loss is not finite; names step and videos.
        SettingsError: the checkpoint is of another configuration.
    """
    model, optimiser = task.model.to(place.device), task.optimiser
    state = checkpoint.resume(place.checkpoints, model, optimiser, task.identity)
    steps, epochs = length(spec, task.clips)
    step_module = _wrapped(model, place)
    every = max(steps // LOGGED, 1)
    began, saved = time.monotonic(), time.monotonic()
    loader = task.loader(state.seen)
    waited, seconds = state.waited, state.seconds
    try:
        with _board(place) as board:
            while state.step < steps:
                progress = Progress(state.step, steps, _epoch(state.step, spec, task.clips, epochs), epochs)
                batch = loader.next()
                for group in optimiser.param_groups:
                    group["lr"] = spec.rate * task.schedule(state.step, steps)
                values = _step(step_module, optimiser, batch, progress, spec, place)
                model.after_step(progress)  # type: ignore[operator]
                state.step, state.seen = state.step + 1, state.seen + len(batch.available)
                state.seconds, state.waited = seconds + time.monotonic() - began, waited + loader.waited
                if place.rank == 0 and (state.step % every == 0 or state.step == steps):
                    _log(state, values, board, place)
                if spec.validate_every and state.step % spec.validate_every == 0 and state.step < steps:
                    _validate(task, state, spec, board, place)
                if place.rank == 0 and time.monotonic() - saved >= place.every_s:
                    checkpoint.save(place.checkpoints, model, optimiser, state)
                    saved = time.monotonic()
            _validate(task, state, spec, board, place)
    finally:
        loader.close()
    if place.rank == 0:
        checkpoint.save(place.checkpoints, model, optimiser, state)
    return state


def length(spec: TrainSpec, clips: int) -> tuple[int, int]:
    """Steps and epochs of a training on ``clips`` clips per epoch."""
    if spec.steps is None:
        return max(spec.epochs * clips // spec.batch, 1), spec.epochs
    return spec.steps, max(-(-spec.steps * spec.batch // clips), 1)


def _epoch(step: int, spec: TrainSpec, clips: int, epochs: int) -> int:
    return min(step * spec.batch // clips, epochs - 1)


def _wrapped(model: nn.Module, place: Place) -> nn.Module:
    step = _Step(model)
    return DistributedDataParallel(step) if place.world > 1 else step


def _step(
    module: nn.Module,
    optimiser: torch.optim.Optimizer,
    batch: Batch,
    progress: Progress,
    spec: TrainSpec,
    place: Place,
) -> dict[str, float]:
    """One optimisation step; figures by name."""
    seed = (spec.seed * _PRIMES[0] + progress.step) * _PRIMES[1] + place.rank
    torch.manual_seed(seed)
    draws = torch.Generator().manual_seed(seed)
    module.train()
    with _autocast(spec, place):
        losses = module(batch, progress, draws)
    loss = losses["loss"]
    if not torch.isfinite(loss):
        raise DivergedError(
            f"the loss became {loss.item()} in step {progress.step} of {progress.steps}, on videos "
            f"{', '.join(sorted(set(batch.videos))[:4])}: lower train.rate (now {spec.rate:g}) or "
            f"train.clip, or "
            "look at the features of these videos"
        )
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    norm = nn.utils.clip_grad_norm_(module.parameters(), spec.clip)
    if not torch.isfinite(norm):
        raise DivergedError(
            f"the gradient became {norm.item()} in step {progress.step} of {progress.steps}: lower "
            f"train.rate "
            f"(now {spec.rate:g})"
        )
    optimiser.step()
    figures = {name: value.item() for name, value in losses.items()}
    return {**figures, "rate": optimiser.param_groups[0]["lr"], "gradient": norm.item()}


def _autocast(spec: TrainSpec, place: Place) -> contextlib.AbstractContextManager[Any]:
    gpu = place.device.startswith("cuda")
    if spec.precision == "bf16" or (spec.precision == "auto" and gpu):
        return torch.autocast("cuda" if gpu else "cpu", torch.bfloat16)
    return contextlib.nullcontext()


def _validate(
    task: Task, state: checkpoint.State, spec: TrainSpec, board: SummaryWriter | None, place: Place
) -> None:
    """The mean losses on the held-out clips, with the same random choices each time."""
    if task.validation is None or place.rank != 0:
        return
    task.model.eval()
    sums: dict[str, float] = {}
    clips = 0
    steps, epochs = length(spec, task.clips)
    progress = Progress(steps, steps, epochs - 1, epochs)
    with torch.no_grad():
        for number, batch in enumerate(task.validation()):
            draws = torch.Generator().manual_seed(spec.seed + number)
            for name, value in task.model.training_step(batch, progress, draws).items():  # type: ignore[operator]
                sums[name] = sums.get(name, 0.0) + value.item() * len(batch.available)
            clips += len(batch.available)
    if clips:
        figures = {f"validation {name}": value / clips for name, value in sums.items()}
        _log(state, figures, board, place, speed=False)


def _log(
    state: checkpoint.State,
    values: Mapping[str, float],
    board: SummaryWriter | None,
    place: Place,
    speed: bool = True,
) -> None:
    figures = dict(values)
    if speed and state.seconds > 0:
        figures["steps per second"] = state.step / state.seconds
        figures["waiting for data"] = state.waited / state.seconds
    for name, value in figures.items():
        if math.isfinite(value):
            state.history.append((state.step, name, float(value)))
            if board is not None:
                board.add_scalar(name.replace(" ", "_"), value, state.step)
    if place.report is not None:
        place.report({**figures, "step": state.step})


@contextlib.contextmanager
def _board(place: Place) -> Iterator[SummaryWriter | None]:
    """TensorBoard logs beside the checkpoints, by the first process alone."""
    if place.rank != 0:
        yield None
        return
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(place.checkpoints / "tensorboard"), flush_secs=10) as board:
        yield board


def identity_text(content: Mapping[str, Any]) -> str:
    """An identity as text that is equal for equal content."""
    return json.dumps(content, sort_keys=True)
