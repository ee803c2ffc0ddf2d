"""The Ray runner: consecutive map stages as one Ray Data graph of shard owners.

Rows are tasks and receipts, a few hundred bytes each: features never enter the object store. Every stage is
a fixed pool of actors, each of which makes whole shards. Ray restarts a killed actor and hands its shard to
another; since a shard is committed atomically and is the same bytes whoever makes it, that is all it takes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import logging
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from cluster.chain import Chain, Receipt, Task
from cluster.execute import ShardExecutor
from cluster.resources import ResourcesError
from cluster.training import KNOWN, Problem, Seldom
from stages.errors import SettingsError
from stages.stage import FitStage, WorkContext

if "ray" not in sys.modules:  # it reads these once; changed later, its two sides would disagree
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    os.environ.setdefault("RAY_TRAIN_V2_ENABLED", "1")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # its own log files still have everything

try:
    import ray
    from ray.data import ActorPoolStrategy, DataContext
except ImportError as error:  # pragma: no cover - exercised by a test in a process of its own
    raise SettingsError(
        f"ray can't be imported by {sys.executable} ({error}): start the cluster from the project's .venv "
        "(`.venv/bin/ray start --head`), or use --runner local"
    ) from error

from ray.data._internal.execution import backpressure_policy as pressure

PROJECT = Path(__file__).resolve().parents[1]
_TRAIN_FAILURES = 3
_WORKERS_KEY = "tubeflow.workers"
_OBJECT_STORE_BYTES = 128 * 2**20  # receipts only; the smallest store that Ray is happy with


class RayRunner:
    """Runs a chain on the cluster at ``address``, or on a local Ray that it starts and stops.

    Args:
        workers: shard owners of the last stage; 0 means one per CPU (or per GPU share) of the cluster.
        gpus: GPUs per shard owner, possibly a fraction.
        address: a cluster's address, ``auto``, or None for the surrounding job's or else a local Ray.
        fit_workers: processes that train one model together.
    """

    name = "ray"

    def __init__(
        self, workers: int = 0, gpus: float = 0.0, address: str | None = None, fit_workers: int = 1
    ) -> None:
        self._workers = workers
        self._fit_workers = fit_workers
        self._gpus = gpus
        self._address = address or os.environ.get("RAY_ADDRESS")

    def run(self, chain: Chain, tasks: Sequence[Task], run_id: str) -> Iterator[Receipt]:
        """Make ``tasks`` and whatever follows from them; receipts in the order in which they arrive."""
        with self._connected():
            _check_nodes(chain)
            yield from self._stream(chain, tasks, run_id)

    def fit(self, stage: FitStage, inputs: Sequence[Path], folder: Path, context: WorkContext) -> None:
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

        gpu = self._gpus > 0
        with self._connected(), _quiet_training():
            _check_capacity(self._fit_workers, float(gpu), "run.train_workers")
            trainer = TorchTrainer(
                functools.partial(_train, stage, inputs, folder, context),
                train_loop_config={},
                scaling_config=ScalingConfig(num_workers=self._fit_workers, use_gpu=gpu),
                run_config=RunConfig(
                    name=stage.name,
                    storage_path=str(folder / ".train"),
                    failure_config=FailureConfig(max_failures=_TRAIN_FAILURES),
                ),
            )
            try:
                trainer.fit()
            finally:
                Problem(folder).raise_told()
        shutil.rmtree(folder / ".train", ignore_errors=True)  # Ray Train's own record, no part of the model

    @contextlib.contextmanager
    def _connected(self) -> Iterator[None]:
        """Inside, Ray is there; a local Ray that was started for it is stopped afterwards."""
        started = not ray.is_initialized()
        if started:
            _connect(self._address, self._workers)
        try:
            yield
        finally:
            if started:
                ray.shutdown()

    def _stream(self, chain: Chain, tasks: Sequence[Task], run_id: str) -> Iterator[Receipt]:
        workers = self._workers or _default_workers(self._gpus)
        _set_context(workers)
        _check_capacity(workers, self._gpus)
        rows = [{"task": task.dump(), "receipts": "[]"} for task in tasks]
        dataset = ray.data.from_items(rows, override_num_blocks=len(rows))
        first = min(task.level for task in tasks)
        for level in range(first, len(chain)):
            last = level + 1 == len(chain)
            dataset = dataset.map_batches(
                _owner_class(chain[level].stage.kind),
                fn_constructor_args=(chain, level, run_id),
                batch_size=1,
                batch_format="numpy",
                compute=ActorPoolStrategy(
                    size=min(workers, len(tasks)) if level == first else workers,
                    max_tasks_in_flight_per_actor=1,
                ),
                # Light stages before the last ask for no CPU: they wait for disks, and a pool that
                # can't be placed would stall the graph without a word.
                num_cpus=(1 if not self._gpus else 0) if last else 0,
                num_gpus=self._gpus if last and self._gpus else None,
            )
        for batch in dataset.iter_batches(batch_size=None, batch_format="numpy", prefetch_batches=0):
            for packed in batch["receipts"]:
                for fields in json.loads(packed):
                    yield Receipt(**fields)


class NotTooFarAhead(pressure.BackpressurePolicy):
    """A stage waits while the next one has twice as many shards before it as it has workers.

    Ray itself counts bytes in its object store, and receipts have next to none: a fast stage would fill the
    disk with features long before a slow one reads them.
    """

    def can_add_input(self, op: Any) -> bool:
        """Whether ``op`` may begin another shard."""
        most = 2 * self._data_context.get_config(_WORKERS_KEY, 1)
        waiting = (self._topology[below].total_enqueued_input_blocks() for below in op.output_dependencies)
        return all(count < most for count in waiting)


class ShardOwner:
    """An actor that makes shards of one stage and passes receipts and following tasks on."""

    def __init__(self, chain: Chain, level: int, run_id: str) -> None:
        self._level = level
        self._execute = ShardExecutor(chain, level, run_id)

    def __call__(self, batch: dict[str, Any]) -> Iterator[dict[str, list[str]]]:
        """One task in; one row out per following task, the first of them carrying the receipts."""
        packed, receipts = str(batch["task"][0]), str(batch["receipts"][0])
        if not packed or (task := Task.load(packed)).level != self._level:
            yield {"task": [packed], "receipts": [receipts]}
            return
        receipt = self._execute(task)
        carried = json.dumps([*json.loads(receipts), receipt.dump()])
        following = [] if receipt.error else receipt.next
        for position, packed_task in enumerate([t.dump() for t in following] or [""]):
            yield {"task": [packed_task], "receipts": [carried if position == 0 else "[]"]}


def _train(
    stage: FitStage, inputs: Sequence[Path], folder: Path, context: WorkContext, _: dict[str, Any]
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
        stage.make(inputs, folder, dataclasses.replace(context, report=Seldom(train.report)))
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


def _owner_class(kind: str) -> type[ShardOwner]:
    """`ShardOwner` under a name that makes Ray's dashboard readable."""
    return type(f"{kind.capitalize()}ShardOwner", (ShardOwner,), {})


def _connect(address: str | None, workers: int) -> None:
    """Join a cluster, or start a local Ray with as many CPUs as the machine (or the workers) have."""
    search = os.pathsep.join([str(PROJECT), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {"env_vars": {"PYTHONPATH": search, "OMP_NUM_THREADS": "1"}}
    if address:
        in_job = "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ  # then the job's working_dir is on the path
        with _held_stderr():
            ray.init(address=address, runtime_env=None if in_job else environment, log_to_driver=False)
        return
    with _held_stderr():
        ray.init(
            num_cpus=max(os.cpu_count() or 1, workers),
            include_dashboard=False,
            log_to_driver=False,
            object_store_memory=_OBJECT_STORE_BYTES,
            runtime_env=environment,
            logging_level="ERROR",
        )


@contextlib.contextmanager
def _held_stderr() -> Iterator[None]:
    """Holds back what Ray's C++ side writes to standard error while it starts, unless the start fails."""
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(kept, held.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def _set_context(workers: int) -> None:
    """Ray Data's settings for long shard tasks whose output is tiny receipts."""
    context = DataContext.get_current()
    context.set_config(_WORKERS_KEY, workers)
    policies = [p for p in pressure.ENABLED_BACKPRESSURE_POLICIES if p is not NotTooFarAhead]
    context.set_config(pressure.ENABLED_BACKPRESSURE_POLICIES_CONFIG_KEY, [*policies, NotTooFarAhead])
    context.target_max_block_size = 1  # a receipt is a block: it moves on as soon as it is there
    context.execution_no_progress_timeout_s = -1  # a shard may take long; its decoder is watched by us
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    # pools are as large as the stage's work, which Ray can't see when a graph begins
    warnings.filterwarnings("ignore", message="The minimum number of concurrent actors")
    context.enable_auto_log_stats = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)


def _default_workers(gpus: float) -> int:
    resources = ray.cluster_resources()
    return max(1, int(resources.get("GPU", 0) / gpus) if gpus else int(resources.get("CPU", 1)))


def _check_capacity(workers: int, gpus: float, setting: str = "--workers") -> None:
    """Refuse pools that Ray could never place, which it would wait for without a word."""
    resources = ray.cluster_resources()
    what, need, have = (
        ("GPU", workers * gpus, resources.get("GPU", 0.0))
        if gpus
        else ("CPU", workers, resources.get("CPU", 0.0))
    )
    if need > have:
        raise ResourcesError(
            f"{workers} workers need {need:g} {what}s, the cluster has {have:g}: lower {setting}"
        )


@ray.remote(num_cpus=0)
def _sees(paths: list[str]) -> list[str]:
    return [path for path in paths if not os.path.exists(path)]  # noqa: PTH110


def _check_nodes(chain: Chain) -> None:
    """Prove that every node sees the store and the data."""
    paths = [str(chain[0].artifact.stage_json), chain[0].context.data_root]
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    alive = [node for node in ray.nodes() if node["Alive"]]
    answers = [
        _sees.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)).remote(
            paths
        )
        for node in alive
    ]
    for node, missing in zip(alive, ray.get(answers), strict=True):
        if missing:
            raise ResourcesError(
                f"node {node['NodeManagerHostname']} ({node['NodeManagerAddress']}) doesn't see "
                f"{missing[0]}: put store and data where every node reads them under the same path"
            )
