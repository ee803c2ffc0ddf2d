"""Lost nodes and killed workers: what they leave undone is made in another round, on the nodes that are left.

Ray restarts a lost actor wherever there is room. The shard it was making is not handed to it again, for it
might wait for room for ever while others idle: Ray Data drops the task, the graph goes on, and what is left
at its end goes through a graph of its own. Shards are committed atomically and are the same bytes whoever
makes them, so nothing else has to be undone.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from cluster.chain import Receipt, Task
from cluster.placement import Pool
from cluster.ray_checks import living
from cluster.ray_setup import ray
from cluster.resources import ResourcesError
from stages.artifacts import lineage

ROUNDS = 7
"""Rounds in a row without a single new shard, and without a lost node, after which a run gives up. More than
a shard's own worker may die on it (`cluster.execute.MAX_STARTS`), for that has a better message."""
WATCH_S = 2.0
REMIND_S = 60.0

Tell = Callable[[str], None]

_DATA_ERRORS = "ray.data._internal.execution.streaming_executor_state"


class Left:
    """What a run has not done yet. Tasks that descend from one shard of the first stage are done together.

    Args:
        tasks: all that the run was given.
    """

    def __init__(self, tasks: Sequence[Task]) -> None:
        self._tasks = list(tasks)
        self._seen: dict[str, set[tuple[int, str]]] = {}
        self._open: Counter[str] = Counter()

    def begin(self) -> list[Task]:
        """The tasks of the next round: those of which something is not done."""
        if self._open:
            self._tasks = [task for task in self._tasks if self._open[lineage.root(task.shard)] > 0]
        self._open = Counter(lineage.root(task.shard) for task in self._tasks)
        self._seen = {root: self._seen.get(root, set()) for root in self._open}
        return self._tasks

    def take(self, receipt: Receipt) -> bool:
        """Note what is done, and say whether it is news: a later round also meets what an earlier one did."""
        root = lineage.root(receipt.shard)
        self._open[root] += receipt.following - 1
        seen = self._seen[root]
        new = (receipt.level, receipt.shard) not in seen
        seen.add((receipt.level, receipt.shard))
        if self._open[root] <= 0:
            self._seen[root] = set()  # nothing of it comes again
        return new

    @property
    def count(self) -> int:
        """How many of the tasks have something left."""
        return sum(self._open[lineage.root(task.shard)] > 0 for task in self._tasks)


def in_rounds(
    tasks: Sequence[Task],
    make: Callable[[Sequence[Task], int], Iterator[Receipt]],
    workers: int,
    room: Room,
    tell: Tell,
) -> Iterator[Receipt]:
    """Receipts of ``tasks`` and of what follows from them, each once, however many rounds that takes.

    Args:
        make: one graph over the given tasks with so many workers.
        workers: the size of the pools; less in a later round, where the cluster has become smaller.
        room: of the cluster, now and later.
        tell: takes sentences for the user.

    Raises:
        ResourcesError: the workers or nodes are lost again and again, and nothing is finished any more.
    """
    left = Left(tasks)
    idle, size, known = 0, workers, alive()
    while todo := left.begin():
        done = 0
        with Watch(workers, room, tell, known=known) as watch, _dropped() as causes:
            try:
                for receipt in make(todo, size):
                    if left.take(receipt):
                        done += 1
                        yield receipt
            except ray.exceptions.RayError as error:
                causes.append(_Cause.of(error))
            except ResourcesError as error:  # a node was lost between the look at them and the start
                if size == workers and not watch.lost:
                    raise
                causes.append(_Cause.of(error))
        if not left.count:
            return
        known = watch.known
        idle = 0 if done or watch.lost else idle + 1
        cause = causes[-1] if causes else _UNKNOWN
        if idle == ROUNDS:
            yield from _given_up(cause, left.count)
        tell(f"{left.count} shards were left by lost workers and are made again ({cause.words})")
        gc.collect()  # an actor lives, and keeps its CPU, as long as anything here refers to it
        size = min(workers, wait_for_room(room, tell))


class Wait:
    """Remembers what was told of a wait for nodes: all who wait for the same room, in turn or at a time, tell
    it together, once every `REMIND_S` seconds.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._told = float("-inf")

    def goes_on(self, tell: Tell, text: str) -> None:
        """There is too little room."""
        with self._lock:
            if time.monotonic() - self._told > REMIND_S:
                self._told = time.monotonic()
                tell(text)

    def is_over(self, tell: Tell, text: str) -> None:
        """There is room; that is told where the wait was."""
        with self._lock:
            if self._told > float("-inf"):
                self._told = float("-inf")
                tell(text)


@dataclass(frozen=True)
class Room:
    """How much the living nodes can hold.

    Attributes:
        count: for how many workers they have the resources, whoever holds them just now.
        unit: what one worker takes, in words.
        pools: what an autoscaler, where there is one, is asked for while there is too little.
        wait: what was told of waiting for more.
    """

    count: Callable[[], int]
    unit: str
    pools: Sequence[Pool] = ()
    wait: Wait = field(default_factory=Wait)

    def most(self) -> int:
        """As `count`, 0 where some of the actors find no room at all."""
        try:
            return self.count()
        except ResourcesError:
            return 0


def unit(gpus: float) -> str:
    """What a worker with ``gpus`` GPUs takes."""
    return f"{gpus:g} GPUs" if gpus else "a CPU"


def wait_for_room(room: Room, tell: Tell, least: int = 1, patience: float = math.inf) -> int:
    """How many workers the cluster has room for, as soon as that is ``least`` or more, or after ``patience``
    seconds.
    """
    if (found := room.most()) >= least or not patience:
        return found
    began = time.monotonic()
    with _requested(room.pools):
        while (found := room.most()) < least and time.monotonic() - began < patience:
            room.wait.goes_on(tell, _waiting(found, least, room.unit))
            time.sleep(WATCH_S / 2)
    return found


@contextlib.contextmanager
def _requested(pools: Sequence[Pool]) -> Iterator[None]:
    """Inside, an autoscaler brings nodes for ``pools``: of actors that are not begun it knows nothing."""
    from ray.autoscaler.sdk import request_resources

    request_resources(bundles=[dict(pool.needs) for pool in pools for _ in range(pool.count)])
    try:
        yield
    finally:
        request_resources(bundles=[])


class Watch:
    """Tells while something runs on the cluster which nodes are lost, and that nodes are waited for.

    Args:
        workers: how many it would like to have.
        room: of the cluster.
        tell: takes sentences for the user.
        least: with fewer workers it waits.
        known: the nodes that were there when one looked last; default: those that are there.

    Attributes:
        lost: how many nodes were lost so far.
        known: the nodes that were there when it looked last, as `alive` tells them.
    """

    def __init__(
        self, workers: int, room: Room, tell: Tell, least: int = 1, known: dict[str, str] | None = None
    ) -> None:
        self._workers, self._room, self._tell, self._least = workers, room, tell, least
        self.lost = 0
        self.known = alive() if known is None else known
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="nodes", daemon=True)

    def __enter__(self) -> Watch:
        self._tell_room()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self._look()  # a node that was lost just before the end has to count

    def _run(self) -> None:
        while not self._ended.wait(WATCH_S):
            self._look()
            self._tell_room()

    def _tell_room(self) -> None:
        room, wait = self._room.most(), self._room.wait
        if room >= self._least:
            text = f"going on: {min(room, self._workers)} of {self._workers} workers have room"
            wait.is_over(self._tell, text)
        else:
            wait.goes_on(self._tell, _waiting(room, self._least, self._room.unit))

    def _look(self) -> None:
        now = alive()
        for node in self.known.keys() - now.keys():
            self.lost += 1
            room = min(self._room.most(), self._workers)
            self._tell(
                f"node {self.known[node]} is lost: what it has not finished is done again; "
                f"{room} of {self._workers} workers have room"
            )
        self.known = now


def _waiting(room: int, least: int, unit: str) -> str:
    return (
        f"waiting for nodes: {least} worker{'s' * (least > 1)} with {unit} each must have room, the "
        f"{len(alive())} nodes that are there have it for {room}"
    )


@dataclass(frozen=True)
class _Cause:
    """Why a task was lost, in words: an error itself would keep the actors alive that its traceback knows."""

    words: str
    bug: str

    @classmethod
    def of(cls, error: BaseException) -> _Cause:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        bug = str(error) if isinstance(error, ray.exceptions.RayTaskError) else ""
        return cls(f"{type(error).__name__}: {lines[0] if lines else ''}"[:200], bug)


_UNKNOWN = _Cause("Ray gave no reason", "")


@contextlib.contextmanager
def _dropped() -> Iterator[list[_Cause]]:
    """Why Ray Data drops tasks meanwhile, which it else prints with tracebacks."""
    causes: list[_Cause] = []

    def keep(record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if error is not None:
            causes.append(_Cause.of(error))
        return error is None

    logger = logging.getLogger(_DATA_ERRORS)
    logger.addFilter(keep)
    try:
        yield causes
    finally:
        logger.removeFilter(keep)


def _given_up(cause: _Cause, count: int) -> Iterator[Receipt]:
    """A bug in a worker's own code is reported as one; else it is the cluster."""
    if cause.bug:
        yield Receipt(0, "", error=cause.bug, error_kind="bug")
    raise ResourcesError(
        f"the workers of {count} shards were lost {ROUNDS} times in a row without finishing one "
        f"({cause.words}): look at the nodes' memory, lower --workers or backbone.batch, and run the same "
        "command again; what is committed is kept"
    )


def alive() -> dict[str, str]:
    """The nodes that are there by id: their addresses, and how their ids begin."""
    return {n["NodeID"]: f"{n['NodeManagerAddress']} ({n['NodeID'][:8]})" for n in living()}
