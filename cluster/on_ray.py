"""The Ray runner: consecutive map stages as one Ray Data graph of shard owners.

Rows are tasks and receipts, a few hundred bytes each: features never enter the object store. Every stage is
a fixed pool of actors, each of which makes whole shards. Ray restarts a killed actor; the shard it was making
is made in another round (`cluster.ray_recovery`).
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import json
import logging
import os
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from cluster.chain import BoundStage, Chain, Receipt, Task
from cluster.execute import ShardExecutor
from cluster.placement import Arrangement, Asked, arrange, arrange_training, pools_of, training_pool
from cluster.ray_checks import check_nodes, living, present_nodes
from cluster.ray_decoding import RemoteDecoding, decode_actors
from cluster.ray_metrics import RayMeters
from cluster.ray_pressure import set_pressure
from cluster.ray_recovery import Room, in_rounds, unit, wait_for_room
from cluster.ray_setup import connect, ray  # before anything of ray: it sets what ray reads once
from cluster.ray_training import fit_on_ray
from cluster.watching import Watch, WorkerFile, run_folder, store_of
from stages import logs
from stages.artifacts.place import Place
from stages.stage import FitStage, Limits, WorkContext

# isort: split
from ray.data import ActorPoolStrategy, DataContext


class RayRunner:
    """Runs a chain on the cluster at ``address``, or on a local Ray.

    That is joined or started for the first work, stays for what follows, and is left or stopped by `close`.

    Args:
        workers: shard owners of each stage; 0 means as many as there is room for.
        gpus: GPUs per worker, possibly a fraction; its owners of stages with models share them.
        address: a cluster's address, ``auto``, or None for the surrounding job's or else a local Ray.
        fit_workers: processes that train one model together.
        decoders: decode actors on other nodes, 0 for as many as `placement.decoder_pool` finds good; None:
            videos are decoded beside the models.
        tell: takes sentences for the user: a lost node, waiting for nodes. None: they go to the log.
        patience: seconds that a run waits at its start for nodes that an autoscaler brings.
    """

    name = "ray"

    def __init__(
        self,
        workers: int = 0,
        gpus: float = 0.0,
        address: str | None = None,
        fit_workers: int = 1,
        decoders: int | None = None,
        tell: Callable[[str], None] | None = None,
        patience: float = 0.0,
    ) -> None:
        self._patience = patience
        self._asked = Asked(workers, gpus, decoders)
        self._tell = tell or logging.getLogger(__name__).warning
        self._fit_workers = fit_workers
        self._address = address or os.environ.get("RAY_ADDRESS")
        self._started = False
        self._lock = threading.Lock()  # another thread asks for the nodes while Ray comes and goes

    def run(self, chain: Chain, tasks: Sequence[Task], run_id: str) -> Iterator[Receipt]:
        """Make ``tasks`` and whatever follows from them; receipts in the order in which they arrive."""
        with self._connected():
            first = min(task.level for task in tasks)
            stages, asked = [bound.stage for bound in chain[first:]], self._asked

            def stream(todo: Sequence[Task], workers: int) -> Iterator[Receipt]:
                places = arrange(present_nodes(), stages, dataclasses.replace(asked, workers=workers))
                with _decoding(places, chain[0].context.limits) as decoding:
                    fed = tuple(_fed(bound, decoding) for bound in chain)
                    yield from _stream(fed, todo, run_id, places, first, lambda: room.most() < workers)

            def count() -> int:
                return arrange(present_nodes(), stages, dataclasses.replace(asked, workers=0)).workers

            _, owners, decoders = pools_of(present_nodes(), stages, asked)
            room = Room(count, unit(asked.gpus), [owners, *([decoders] if decoders else [])])
            wait_for_room(room, self._tell, max(1, asked.workers), self._patience)
            workers = arrange(present_nodes(), stages, asked).workers
            check_nodes(chain)
            yield from in_rounds(tasks, stream, workers, room, self._tell)

    def nodes(self) -> dict[str, dict[str, Any]]:
        """The living nodes by id: ``host``, ``address``, ``cpus``, ``gpus``; {} while Ray is not there."""
        with self._lock:
            nodes = living() if ray.is_initialized() else []
        return {
            node["NodeID"][:8]: {
                "host": node["NodeManagerHostname"],
                "address": node["NodeManagerAddress"],
                "cpus": node["Resources"].get("CPU", 0.0),
                "gpus": node["Resources"].get("GPU", 0.0),
            }
            for node in nodes
        }

    def fit(self, stage: FitStage, inputs: Sequence[Place], folder: Place, context: WorkContext) -> None:
        """Run a fit stage on Ray Train (see `cluster.ray_training.fit_on_ray`)."""
        asked = self._asked if stage.decodes else dataclasses.replace(self._asked, decoders=None)
        with self._connected():
            workers = self._fit_workers

            def count() -> int:
                return arrange_training(present_nodes(), workers, asked).workers

            room = Room(count, unit(asked.gpus), [training_pool(workers, asked)])
            wait_for_room(room, self._tell, workers, self._patience)
            places = arrange_training(present_nodes(), workers, asked)
            with _decoding(places, context.limits) as decoding:
                if decoding is not None:  # a training has its own clients, of one stream each
                    one = dataclasses.replace(decoding, streams=1)
                    context = dataclasses.replace(context, decoding=one, decoders=places.streams)
                fit_on_ray(stage, inputs, folder, context, workers, asked.gpus > 0, room, self._tell)

    def close(self) -> None:
        """Leave or stop the Ray that was joined or started for work here; more work would begin another."""
        with self._lock:
            if self._started:
                ray.shutdown()
            self._started = False

    @contextlib.contextmanager
    def _connected(self) -> Iterator[None]:
        """Inside, Ray is there, and afterwards its CPUs are free for the next work."""
        asked = self._asked
        cpus = asked.workers + (0 if asked.decoders is None else asked.decoders or asked.workers)
        with self._lock:
            if not ray.is_initialized():
                connect(self._address, cpus)
                self._started = True
        try:
            yield
        finally:
            gc.collect()  # an actor lives, and keeps its CPU, as long as anything here refers to it


@contextlib.contextmanager
def _decoding(places: Arrangement, limits: Limits) -> Iterator[RemoteDecoding | None]:
    """Inside, the decode actors of ``places`` are there, if it has any."""
    if places.decoders is None:
        yield None
    else:
        with decode_actors(places.decoders, places.decoder_nodes, limits) as actors:
            yield RemoteDecoding(actors, places.streams)


def _fed(bound: BoundStage, decoding: RemoteDecoding | None) -> BoundStage:
    """``bound`` with its decoders elsewhere, if it decodes."""
    if not bound.stage.decodes:
        return bound
    return dataclasses.replace(bound, context=dataclasses.replace(bound.context, decoding=decoding))


def _stream(
    chain: Chain,
    tasks: Sequence[Task],
    run_id: str,
    places: Arrangement,
    first: int,
    short: Callable[[], bool],
) -> Iterator[Receipt]:
    """One graph over ``tasks``; what is lost with a node or a worker on the way is missing.

    Args:
        first: the first stage that ``places`` is for.
        short: whether the nodes can't hold the actors of ``places`` any more.
    """
    workers = places.workers
    _set_context(workers, short)
    dataset = ray.data.from_items(
        [{"task": task.dump(), "receipts": "[]"} for task in tasks],  # held by nobody: 110 MB for 10^6 videos
        override_num_blocks=len(tasks),
    )
    for level in range(first, len(chain)):
        dataset = dataset.map_batches(
            _owner_class(chain[level].stage.kind),
            fn_constructor_args=(chain, level, run_id),
            batch_size=1,
            batch_format="numpy",
            compute=ActorPoolStrategy(
                size=min(workers, len(tasks)) if level == first else workers,
                max_tasks_in_flight_per_actor=1,
            ),
            max_task_retries=0,  # by default for ever, on the same actor, which may wait for room as long
            **_remote_options(places, level - first),
        )
    for batch in dataset.iter_batches(batch_size=None, batch_format="numpy", prefetch_batches=0):
        for packed in batch["receipts"]:
            for fields in json.loads(packed):
                yield Receipt(**fields)


def _remote_options(places: Arrangement, position: int) -> dict[str, Any]:
    """What Ray is told about the owners of the stage at ``position`` of those that run.

    Light ones ask for nothing, since a pool that can't be placed would stall the graph without a word; Ray
    would then put them anywhere, so they are kept off the nodes that are not for them.
    """
    needs = places.needs[position]
    options: dict[str, Any] = {"num_cpus": needs.get("CPU", 0), "num_gpus": needs.get("GPU")}
    if not needs and places.unfit:
        options["label_selector"] = {"ray.io/node-id": f"!in({','.join(places.unfit)})"}
    return options


class ShardOwner:
    """An actor that makes shards of one stage and passes receipts and following tasks on."""

    def __init__(self, chain: Chain, level: int, run_id: str) -> None:
        self._level = level
        logs.set_up(as_json=True)  # into Ray's log files
        file = WorkerFile(run_folder(store_of(chain), run_id))
        watch = Watch(run_id, chain[level].stage.kind, file, RayMeters(run_id))
        node = ray.get_runtime_context().get_node_id()
        self._execute = ShardExecutor(chain, level, run_id, watch, node, _living_ids)

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


def _living_ids() -> set[str]:
    return {node["NodeID"] for node in living()}


def _owner_class(kind: str) -> type[ShardOwner]:
    """`ShardOwner` under a name that makes Ray's dashboard readable."""
    return type(f"{kind.capitalize()}ShardOwner", (ShardOwner,), {})


def _set_context(workers: int, short: Callable[[], bool]) -> None:
    """Ray Data's settings for long shard tasks whose output is tiny receipts."""
    context = DataContext.get_current()
    set_pressure(context, workers, short)
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
