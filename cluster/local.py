"""The local runner: shards are made in this process, or in a few spawned ones; no ray needed."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool

from cluster.chain import Chain, Receipt, Task
from cluster.execute import ShardExecutor
from cluster.together import train_together
from cluster.watching import Watch, WorkerFile, run_folder, store_of
from stages import logs
from stages.artifacts import scratch
from stages.artifacts.place import Place
from stages.stage import FitStage, WorkContext


class LocalRunner:
    """Runs a chain with ``workers`` processes; one worker means this very process."""

    name = "local"

    def __init__(self, workers: int = 1, fit_workers: int = 1) -> None:
        self._workers = workers
        self._fit_workers = fit_workers

    def run(self, chain: Chain, tasks: Sequence[Task], run_id: str) -> Iterator[Receipt]:
        """Make ``tasks`` and whatever follows from them; receipts in the order of completion."""
        if self._workers == 1:
            yield from _in_process(chain, tasks, run_id)
        else:
            yield from _in_pool(chain, tasks, run_id, self._workers)

    def fit(self, stage: FitStage, inputs: Sequence[Place], folder: Place, context: WorkContext) -> None:
        """Run a fit stage in this process, or in a few that train together; its files go into ``folder``."""
        with scratch.filled(folder) as files:
            if self._fit_workers == 1:
                stage.make(inputs, files, context)
            else:
                train_together(stage, inputs, files, context, self._fit_workers)

    def close(self) -> None:
        """Nothing is left between two pieces of work."""


def _in_process(chain: Chain, tasks: Sequence[Task], run_id: str) -> Iterator[Receipt]:
    executors, file = _set_up_here(chain, run_id)
    todo = deque(tasks)
    try:
        while todo:
            task = todo.popleft()
            receipt = executors[task.level](task)
            todo.extendleft(reversed(receipt.next))  # finish a shard's followers before the next shard
            yield receipt
    finally:
        for executor in executors:
            executor.close()
        file.close()


def _set_up_here(chain: Chain, run_id: str) -> tuple[list[ShardExecutor], WorkerFile]:
    """An executor per stage, and the file in which this process says what they do."""
    file = WorkerFile(run_folder(store_of(chain), run_id))
    watches = [Watch(run_id, bound.stage.kind, file) for bound in chain]
    return [ShardExecutor(chain, level, run_id, watch) for level, watch in enumerate(watches)], file


_executors: list[ShardExecutor] = []


def _set_up(chain: Chain, run_id: str) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interrupt means
    threading.Thread(target=_end_with_parent, daemon=True).start()
    logs.set_up(chain[0].context.log == "json")
    _executors[:], _ = _set_up_here(chain, run_id)


def _end_with_parent() -> None:
    """A pool's worker does not notice by itself that its parent was killed: it would wait for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _execute(task: Task) -> Receipt:
    return _executors[task.level](task)


def _in_pool(chain: Chain, tasks: Sequence[Task], run_id: str, workers: int) -> Iterator[Receipt]:
    """A killed worker breaks the whole pool; the unfinished tasks go on in a new one."""
    todo = deque(tasks)
    others = set(multiprocessing.active_children())
    while todo:
        running: dict[Future[Receipt], Task] = {}
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(workers, context, _set_up, (chain, run_id)) as pool:
            try:
                yield from _feed(pool, todo, running, workers)
            except BrokenProcessPool:
                todo.extendleft(running.values())
            except BaseException:
                # Leaving the pool would wait for shards that nobody wants any more.
                for child in set(multiprocessing.active_children()) - others:
                    child.terminate()
                raise


def _feed(
    pool: ProcessPoolExecutor, todo: deque[Task], running: dict[Future[Receipt], Task], workers: int
) -> Iterator[Receipt]:
    """Keep every worker of the pool busy with one task; followers of a shard go first."""
    while todo or running:
        while todo and len(running) < workers:
            task = todo.popleft()
            try:
                running[pool.submit(_execute, task)] = task
            except BrokenProcessPool:
                todo.appendleft(task)
                raise
        finished, _ = wait(running, return_when=FIRST_COMPLETED)
        for future in finished:
            receipt = future.result()
            del running[future]
            todo.extendleft(reversed(receipt.next))
            yield receipt
