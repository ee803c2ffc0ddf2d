"""The Ray runner: consecutive map stages as one Ray Data graph of shard owners.

Rows are tasks and receipts, a few hundred bytes each: features never enter the object store. Every stage is
a fixed pool of actors, each of which makes whole shards. Ray restarts a killed actor; the shard it was making
is made in another round (`cluster.ray_recovery`).
"""

from __future__ import annotations

import functools
import json
import logging
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from cluster.chain import Chain, Receipt, Task
from cluster.execute import ShardExecutor
from cluster.ray_checks import check_capacity, check_nodes, default_workers
from cluster.ray_recovery import in_rounds
from cluster.ray_setup import connected, ray  # before anything of ray: it sets what ray reads once
from cluster.ray_training import fit_on_ray
from stages.artifacts.place import Place
from stages.stage import FitStage, WorkContext

# isort: split
from ray.data import ActorPoolStrategy, DataContext
from ray.data._internal.execution import backpressure_policy as pressure

_WORKERS_KEY = "tubeflow.workers"


class RayRunner:
    """Runs a chain on the cluster at ``address``, or on a local Ray that it starts and stops.

    Args:
        workers: shard owners of the last stage; 0 means one per CPU (or per GPU share) of the cluster.
        gpus: GPUs per shard owner, possibly a fraction.
        address: a cluster's address, ``auto``, or None for the surrounding job's or else a local Ray.
        fit_workers: processes that train one model together.
        tell: takes sentences for the user: a lost node, waiting for nodes. None: they go to the log.
    """

    name = "ray"

    def __init__(
        self,
        workers: int = 0,
        gpus: float = 0.0,
        address: str | None = None,
        fit_workers: int = 1,
        tell: Callable[[str], None] | None = None,
    ) -> None:
        self._tell = tell or logging.getLogger(__name__).warning
        self._workers = workers
        self._fit_workers = fit_workers
        self._gpus = gpus
        self._address = address or os.environ.get("RAY_ADDRESS")

    def run(self, chain: Chain, tasks: Sequence[Task], run_id: str) -> Iterator[Receipt]:
        """Make ``tasks`` and whatever follows from them; receipts in the order in which they arrive."""
        with connected(self._address, self._workers):
            check_nodes(chain)
            workers = self._workers or default_workers(self._gpus)
            check_capacity(workers, self._gpus)
            stream = functools.partial(self._stream, chain, run_id)
            yield from in_rounds(tasks, stream, workers, self._gpus, self._tell)

    def fit(self, stage: FitStage, inputs: Sequence[Place], folder: Place, context: WorkContext) -> None:
        """Run a fit stage on Ray Train (see `cluster.ray_training.fit_on_ray`)."""
        with connected(self._address, self._workers):
            fit_on_ray(stage, inputs, folder, context, self._fit_workers, self._gpus > 0, self._tell)

    def _stream(self, chain: Chain, run_id: str, tasks: Sequence[Task], workers: int) -> Iterator[Receipt]:
        """One graph over ``tasks``; what is lost with a node or a worker on the way is missing."""
        _set_context(workers)
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
                max_task_retries=0,  # by default for ever, on the same actor, which may wait for room as long
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
        following = receipt.next
        for position, packed_task in enumerate([t.dump() for t in following] or [""]):
            yield {"task": [packed_task], "receipts": [carried if position == 0 else "[]"]}


def _owner_class(kind: str) -> type[ShardOwner]:
    """`ShardOwner` under a name that makes Ray's dashboard readable."""
    return type(f"{kind.capitalize()}ShardOwner", (ShardOwner,), {})


def _set_context(workers: int) -> None:
    """Ray Data's settings for long shard tasks whose output is tiny receipts."""
    context = DataContext.get_current()
    context.set_config(_WORKERS_KEY, workers)
    policies = [p for p in pressure.ENABLED_BACKPRESSURE_POLICIES if p is not NotTooFarAhead]
    context.set_config(pressure.ENABLED_BACKPRESSURE_POLICIES_CONFIG_KEY, [*policies, NotTooFarAhead])
    context.target_max_block_size = 1  # a receipt is a block: it moves on as soon as it is there
    context.max_errored_blocks = -1  # what is lost is made in another round; our own errors are receipts
    context.execution_no_progress_timeout_s = -1  # a shard may take long; its decoder is watched by us
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    # pools are as large as the stage's work, which Ray can't see when a graph begins
    warnings.filterwarnings("ignore", message="The minimum number of concurrent actors")
    # announced for 2.64, without another way to say how often an actor's task is tried
    warnings.filterwarnings("ignore", message="`ray_remote_args` is deprecated")
    context.enable_auto_log_stats = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
