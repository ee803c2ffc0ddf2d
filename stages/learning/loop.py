"""The one training loop: plain torch, in one process or in several that share the gradient."""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from stages.artifacts import place as stores
from stages.artifacts import scratch
from stages.discovery.contract import Batch, Progress
from stages.errors import SettingsError
from stages.learning import checkpoint
from stages.learning.spec import TrainSpec

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

LOGGED = 500
"""Points of a loss curve."""
_PRIMES = (1_000_003, 7_919)
_NAMED = 4


class DivergedError(SettingsError):
    """The loss is no number any more."""


@dataclass(frozen=True)
class Place:
    """Where and how one process trains.

    As many processes give the same bytes on a CPU, however often they are stopped. Another number of them
    gives another model, as another seed does: the clips of a step and the mean gradient are the same, but
    every process draws its own random numbers (dropped tokens, dropout). Even for a method that draws none
    the rounding of the mean grows from step to step.

    Attributes:
        checkpoints: folder of the fit's checkpoints.
        device: ``cpu`` or ``cuda``.
        every_s: seconds between two checkpoints.
        report: called with figures by name whenever there are new ones; in all processes, at the same steps.
    """

    checkpoints: stores.Place
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


class Loader(Protocol):
    """Endless batches."""

    waited: float
    """Seconds spent waiting in `next`."""

    def next(self) -> Batch:
        """The next batch."""

    def close(self) -> None:
        """End what was started."""


@dataclass
class Task:
    """One fit of a method.

    Attributes:
        name: of the fit.
        model: a `stages.discovery.contract.Trainable`, fresh.
        optimiser: of it, fresh, its groups at their peak rates.
        schedule: factor on the peak rate by step and steps.
        loader: given the clips that all processes have consumed before, the batches that follow.
        clips: clips per epoch, over all processes.
        identity: what is trained on what, as JSON.
        validation: batches on which the loss is reported.
    """

    name: str
    model: nn.Module
    optimiser: torch.optim.Optimizer
    schedule: Callable[[int, int], float]
    loader: Callable[[int], Loader]
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
    peaks = [group["lr"] for group in optimiser.param_groups]
    state = checkpoint.resume(place.checkpoints, model, optimiser, task.identity)
    steps, epochs = length(spec, task.clips)
    if state.step == steps:  # only a finished training leaves a checkpoint of its last step
        return state
    module = _wrapped(model, place)
    every = max(steps // LOGGED, 1)
    began = saved = time.monotonic()
    waited, seconds = state.waited, state.seconds
    loader = task.loader(state.seen)
    try:
        with _board(place, state.step) as board:
            while state.step < steps:
                progress = Progress(state.step, steps, _epoch(state.step, spec, task.clips, epochs), epochs)
                batch = loader.next()
                for group, peak in zip(optimiser.param_groups, peaks, strict=True):
                    group["lr"] = peak * task.schedule(state.step, steps)
                values = _step(module, optimiser, batch, progress, spec, place)
                model.after_step(progress)  # type: ignore[operator]
                state.step, state.seen = state.step + 1, state.seen + spec.batch
                state.seconds, state.waited = seconds + time.monotonic() - began, waited + loader.waited
                last = state.step == steps
                if state.step % every == 0 or last:
                    _log(state, _figures(values, state), board, place, steps)
                if last or (spec.validate_every and state.step % spec.validate_every == 0):
                    _validate(task, state, spec, board, place)
                if place.rank == 0 and (last or time.monotonic() - saved >= place.every_s):
                    checkpoint.save(place.checkpoints, model, optimiser, state)
                    saved = time.monotonic()
    finally:
        loader.close()
    return state


def check_shared(spec: TrainSpec) -> None:
    """Refuse batches that the processes of this training can't share.

    Raises:
        SettingsError: names both settings.
    """
    world = dist.get_world_size() if dist.is_initialized() else 1
    if spec.batch % world:
        raise SettingsError(
            f"train.batch={spec.batch} can't be shared by run.train_workers={world}: make it a multiple"
        )


def length(spec: TrainSpec, clips: int) -> tuple[int, int]:
    """Steps and epochs of a training on ``clips`` clips per epoch."""
    if spec.steps is None:
        return max(spec.epochs * clips // spec.batch, 1), spec.epochs
    return spec.steps, max(-(-spec.steps * spec.batch // clips), 1)


def _epoch(step: int, spec: TrainSpec, clips: int, epochs: int) -> int:
    return min(step * spec.batch // clips, epochs - 1)


def _wrapped(model: nn.Module, place: Place) -> nn.Module:
    step = _Step(model)
    if place.world == 1:
        return step
    return DistributedDataParallel(step, find_unused_parameters=True)  # a step may leave a branch out


def _step(
    module: nn.Module,
    optimiser: torch.optim.Optimizer,
    batch: Batch,
    progress: Progress,
    spec: TrainSpec,
    place: Place,
) -> dict[str, Tensor]:
    """One optimisation step; figures by name, on the device: reading them there waits for it."""
    seed = (spec.seed * _PRIMES[0] + progress.step) * _PRIMES[1] + place.rank
    torch.manual_seed(seed)
    draws = torch.Generator().manual_seed(seed)
    module.train()
    with _autocast(spec, place):
        losses = module(batch, progress, draws)
    loss = losses["loss"]
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    norm = nn.utils.clip_grad_norm_(module.parameters(), spec.clip)
    _check_finite(loss.detach(), norm, batch, progress, spec, place)
    optimiser.step()
    figures = {name: value.detach() for name, value in losses.items()}
    rate = torch.tensor(max(group["lr"] for group in optimiser.param_groups), dtype=torch.float64)
    return {**figures, "rate": rate, "gradient": norm}


def _check_finite(
    loss: Tensor, norm: Tensor, batch: Batch, progress: Progress, spec: TrainSpec, place: Place
) -> None:
    """Stop before the weights are spoilt: in all processes, or the others would wait for this one for ever.

    Raises:
        DivergedError: names the step and the videos of the process where the loss is not finite.
    """
    wrong = ~(torch.isfinite(loss) & torch.isfinite(norm))
    if place.world > 1:
        dist.all_reduce(flag := wrong.to(torch.uint8), dist.ReduceOp.MAX)
        wrong = flag
    if not wrong.item():
        return
    mine = (loss.item(), sorted(set(batch.videos)))
    found = [mine]
    if place.world > 1:
        found = [mine] * place.world
        dist.all_gather_object(found, mine)
    value, videos = next((each for each in found if not math.isfinite(each[0])), mine)
    what = "the gradient" if math.isfinite(value) else "the loss"
    number = norm.item() if math.isfinite(value) else value
    more = f" and {len(videos) - _NAMED} more" if len(videos) > _NAMED else ""
    raise DivergedError(
        f"{what} became {number} in step {progress.step} of {progress.steps}, on videos "
        f"{', '.join(videos[:_NAMED])}{more}: lower train.rate (now {spec.rate:g}) or train.clip (now "
        f"{spec.clip:g}), or look at the features of these videos"
    )


def _autocast(spec: TrainSpec, place: Place) -> contextlib.AbstractContextManager[Any]:
    gpu = place.device.startswith("cuda")
    if spec.precision == "bf16" or (spec.precision == "auto" and gpu):
        return torch.autocast("cuda" if gpu else "cpu", torch.bfloat16)
    return contextlib.nullcontext()


def _validate(
    task: Task, state: checkpoint.State, spec: TrainSpec, board: SummaryWriter | None, place: Place
) -> None:
    """The mean losses on the held-out clips, by the first process, with the same random choices each time."""
    if task.validation is None:
        return
    figures: dict[str, float] = {}
    if place.rank == 0:
        task.model.eval()
        clips = 0
        steps, epochs = length(spec, task.clips)
        progress = Progress(steps, steps, epochs - 1, epochs)
        with torch.no_grad(), _autocast(spec, place):
            for number, batch in enumerate(task.validation()):
                draws = torch.Generator().manual_seed(spec.seed + number)
                losses = task.model.training_step(batch, progress, draws)  # type: ignore[operator]
                for name, value in losses.items():
                    name = f"validation {name}"
                    figures[name] = figures.get(name, 0.0) + value.item() * len(batch.available)
                clips += len(batch.available)
        figures = {name: total / clips for name, total in figures.items()}
    _log(state, figures, board, place, length(spec, task.clips)[0])


def _figures(values: Mapping[str, Tensor], state: checkpoint.State) -> dict[str, float]:
    figures = {name: value.item() for name, value in values.items()}
    speed, waiting = state.step / state.seconds, state.waited / state.seconds
    return {**figures, "steps per second": speed, "waiting for data": waiting}


def _log(
    state: checkpoint.State,
    figures: Mapping[str, float],
    board: SummaryWriter | None,
    place: Place,
    steps: int,
) -> None:
    """Figures into the history, TensorBoard and `Place.report`. All processes call it, at the same steps."""
    for name, value in figures.items():
        if math.isfinite(value):
            state.history.append((state.step, name, float(value)))
            if board is not None:
                board.add_scalar(name.replace(" ", "_"), value, state.step)
    if place.report is not None:
        place.report({**figures, "step": state.step, "steps": steps})


@contextlib.contextmanager
def _board(place: Place, step: int) -> Iterator[SummaryWriter | None]:
    """TensorBoard logs beside the checkpoints, by the first process alone; later steps there are void."""
    if place.rank != 0:
        yield None
        return
    from torch.utils.tensorboard import SummaryWriter

    folder = str(scratch.beside(place.checkpoints) / "tensorboard")
    with SummaryWriter(folder, purge_step=step + 1 if step else None, flush_secs=10) as board:
        yield board


def identity_text(content: Mapping[str, Any]) -> str:
    """An identity as text that is equal for equal content."""
    return json.dumps(content, sort_keys=True)
