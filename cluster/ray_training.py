"""Fit stages on Ray Train."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from cluster.ray_metrics import RayMeters
from cluster.ray_recovery import Room, Tell, Watch, wait_for_room
from cluster.ray_setup import ray  # before Ray Train: it sets what that reads when it is imported
from cluster.resources import ResourcesError
from cluster.training import KNOWN, Problem, Seldom
from cluster.watching import TrainingWatch
from stages import logs
from stages.artifacts import scratch
from stages.artifacts.place import Place, Url, remove_tree
from stages.stage import FitStage, WorkContext

_TRAIN_FAILURES = 3
_RECORD = ".train"


def fit_on_ray(
    stage: FitStage,
    inputs: Sequence[Place],
    folder: Place,
    context: WorkContext,
    workers: int,
    gpu: bool,
    room: Room,
    tell: Tell,
) -> None:
    """Run a fit stage on Ray Train; its files go into ``folder``, which all nodes see.

    Where a worker or its node is lost, all workers are started again as soon as there is room for them, and
    go on from the stage's own last checkpoint. A training that advances is never given up; one that dies
    `_TRAIN_FAILURES` times more without a new checkpoint is, lost nodes not counted.

    Args:
        room: of the cluster, for all ``workers`` or for none.
        tell: takes sentences for the user.

    Raises:
        SettingsError, StoreError, FormatError, DamagedError: as the stage raised it in a worker.
        ResourcesError: there are not enough CPUs or GPUs for the workers, or they die again and again.
        TrainingFailedError: Ray Train's, with the traceback of an error in the training itself.
    """
    from ray.train import TrainingFailedError

    with _quiet_training(), Watch(workers, room, tell, least=workers) as watch:
        attempt, idle, trace = 0, 0, _trace(context.checkpoints)
        while True:
            try:
                with _own_interrupts():
                    _attempt(stage, inputs, folder, context, workers, gpu, attempt)
                break
            except (TrainingFailedError, ray.exceptions.RayError) as error:
                Problem(folder).raise_told()
                attempt += 1
                advanced = trace != (trace := _trace(context.checkpoints))
                idle = 0 if advanced else idle + 1
                if advanced:
                    watch.lost = 0
                if idle - watch.lost > _TRAIN_FAILURES:
                    raise _given_up(stage, idle, trace, error) from error
                tell(f"training {stage.name} goes on {_from(trace)}: it lost a worker ({_why(error)})")
            wait_for_room(room, tell, workers)
    Problem(folder).raise_told()
    remove_tree(folder / _RECORD)  # Ray Train's own, no part of the model


def _attempt(
    stage: FitStage,
    inputs: Sequence[Place],
    folder: Place,
    context: WorkContext,
    workers: int,
    gpu: bool,
    number: int,
) -> None:
    """One sitting of a training. Failures are ours to count: Ray's own count knows nothing of progress."""
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    TorchTrainer(
        functools.partial(_train, stage, inputs, folder, context),
        train_loop_config={},
        scaling_config=ScalingConfig(num_workers=workers, use_gpu=gpu),
        run_config=RunConfig(
            name=f"{stage.name}-{number}",
            storage_path=_storage_path(folder / _RECORD),
            storage_filesystem=_storage_filesystem(folder / _RECORD),
            failure_config=FailureConfig(max_failures=0, max_preemption_failures=0),
        ),
    ).fit()


def _trace(folder: Place | None) -> list[str]:
    """The checkpoints that there are, oldest first: another list after a failure means progress."""
    from stages.learning.checkpoint import checkpoints

    try:
        fits: list[Place] = [] if folder is None else list(folder.iterdir())
    except FileNotFoundError:
        return []
    return sorted(f"{fit.name}/{path.name}" for fit in fits for path in checkpoints(fit))


def _from(trace: Sequence[str]) -> str:
    return f"from checkpoint {trace[-1]}" if trace else "from the start"


def _why(error: BaseException) -> str:
    """The first of the workers' own errors in a line."""
    for failure in (*getattr(error, "worker_failures", {}).values(), error):
        cause = getattr(failure, "health_check_failure", failure)
        lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
        if lines:  # of a traceback the last one says it
            return f"{type(cause).__name__}: {lines[-1 if lines[0].startswith('Traceback') else 0]}"[:200]
    return type(error).__name__


def _given_up(stage: FitStage, times: int, trace: Sequence[str], error: Exception) -> Exception:
    """An error in the training's own code goes up with its traceback; a worker that dies lacks something."""
    from ray.train.v2._internal.exceptions import UserExceptionWithTraceback

    failures = tuple(getattr(error, "worker_failures", {}).values())
    if failures and all(isinstance(failure, UserExceptionWithTraceback) for failure in failures):
        return error
    return ResourcesError(
        f"training {stage.name} died {times} times in a row {_from(trace)} without reaching another "
        f"({_why(error)}): lower train.batch where memory is short, or run.checkpoint_s where workers are "
        "lost more often than that; the same command goes on from there"
    )


def _storage_path(record: Place) -> str:
    return record.path if isinstance(record, Url) else str(record)


def _storage_filesystem(record: Place) -> Any:
    """For a URL the file system that we use there ourselves, with the credentials that it finds."""
    if not isinstance(record, Url):
        return None
    from pyarrow.fs import FSSpecHandler, PyFileSystem

    return PyFileSystem(FSSpecHandler(record.fs))


def _train(
    stage: FitStage, inputs: Sequence[Place], folder: Place, context: WorkContext, _: dict[str, Any]
) -> None:
    """One worker of a training."""
    from ray import train
    from ray.train.torch import get_device

    problem = Problem(folder)
    if problem.told:  # by another worker, in an attempt before this one
        return
    device = str(get_device())  # the worker's own GPU, and not another's
    if device.startswith("cuda") and context.device != "cpu":
        context = dataclasses.replace(context, device=device)
    try:
        with scratch.filled(folder) as files:  # the first worker's; the others write none
            stage.make(inputs, files, dataclasses.replace(context, report=_reports(context)))
    except tuple(KNOWN.values()) as error:  # trying again would not help
        problem.tell(error)
        if train.get_context().get_world_size() > 1:
            os._exit(1)  # the others may be waiting for this worker; Ray Train ends them when it is lost


def _reports(context: WorkContext) -> Callable[[Mapping[str, float]], None]:
    """Passes a training's figures to Ray Train, and to the run's own watch with Ray's metrics beside."""
    from ray import train

    seldom, watch = Seldom(train.report), context.report
    if not isinstance(watch, TrainingWatch):
        return seldom
    logs.set_up(as_json=True)
    watch = dataclasses.replace(watch, meters=RayMeters(watch.run.name))

    def report(figures: Mapping[str, float]) -> None:
        watch(figures)
        seldom(figures)

    return report


@contextlib.contextmanager
def _own_interrupts() -> Iterator[None]:
    """Ctrl-C means inside what it means everywhere. Ray Train's handler of it ends the process with code 0,
    and stays when the training is over: it would keep the controller alive and swallow what comes later.
    """
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit:
        raise KeyboardInterrupt from None
    finally:
        if threading.current_thread() is threading.main_thread():  # elsewhere nobody has changed it
            signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def _quiet_training() -> Iterator[None]:
    """Ray Train's own lines on standard error are not for our users; its log files keep them."""
    logger = logging.getLogger("ray.train")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
