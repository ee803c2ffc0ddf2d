"""Fit stages on Ray Train."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
import os
from collections.abc import Iterator, Sequence
from typing import Any

from cluster.ray_checks import check_capacity
from cluster.ray_setup import ray  # noqa: F401 - sets what Ray Train reads when it is imported
from cluster.training import KNOWN, Problem, Seldom
from stages.artifacts import scratch
from stages.artifacts.place import Place, Url, remove_tree
from stages.stage import FitStage, WorkContext

_TRAIN_FAILURES = 3


def fit_on_ray(
    stage: FitStage,
    inputs: Sequence[Place],
    folder: Place,
    context: WorkContext,
    workers: int,
    gpu: bool,
) -> None:
    """Run a fit stage on Ray Train; its files go into ``folder``, which all nodes see.

    A lost worker is started again, up to `_TRAIN_FAILURES` times, and goes on from the stage's own
    last checkpoint.

    Raises:
        SettingsError, StoreError, FormatError, DamagedError: as the stage raised it in a worker.
        ResourcesError: there are not enough CPUs or GPUs for the workers.
        TrainingFailedError: Ray Train's, when the training failed in another way.
    """
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    record = folder / ".train"
    with _quiet_training():
        check_capacity(workers, float(gpu), "run.train_workers")
        trainer = TorchTrainer(
            functools.partial(_train, stage, inputs, folder, context),
            train_loop_config={},
            scaling_config=ScalingConfig(num_workers=workers, use_gpu=gpu),
            run_config=RunConfig(
                name=stage.name,
                storage_path=_storage_path(record),
                storage_filesystem=_storage_filesystem(record),
                failure_config=FailureConfig(max_failures=_TRAIN_FAILURES),
            ),
        )
        try:
            trainer.fit()
        finally:
            Problem(folder).raise_told()
    remove_tree(record)  # Ray Train's own, no part of the model


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
            stage.make(inputs, files, dataclasses.replace(context, report=Seldom(train.report)))
    except tuple(KNOWN.values()) as error:  # trying again would not help
        problem.tell(error)
        if train.get_context().get_world_size() > 1:
            os._exit(1)  # the others may be waiting for this worker; Ray Train ends them when it is lost


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
