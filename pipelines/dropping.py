"""Transient artifacts (``keep: results``): when a shard of features may go, and when it is needed again."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Collection, Iterable, Sequence, Set
from dataclasses import replace

import psutil
import pyarrow as pa
import pyarrow.compute as pc

from cluster.chain import Chain, Receipt, Task, tasks_below
from pipelines.graph import BoundWhole, Graph
from pipelines.remaking import task_again
from pipelines.runs import STALE_S, RunStatus, runs_folder, status_of
from stages.artifacts import dropping, lineage, whole
from stages.artifacts.ledger import Ledger
from stages.artifacts.place import matches
from stages.discovery.sample import sampled_shards

TRANSIENT = "features"
"""The kind of artifact whose shards can be dropped."""


def transient_level(chain: Chain) -> int | None:
    """Where in ``chain`` the transient artifact is made, if it is."""
    return next((level for level, bound in enumerate(chain) if bound.stage.kind == TRANSIENT), None)


def reader_levels(chain: Chain) -> list[int]:
    """The map stages that open its shards."""
    return [level for level, bound in enumerate(chain) if TRANSIENT in bound.stage.reads_shards]


def reading_fits(graph: Graph) -> list[BoundWhole]:
    """The trainings that open its shards."""
    return [item for item in graph.whole if item.fit and TRANSIENT in item.stage.reads_shards]


def needed_again(graph: Graph, ledgers: Sequence[Ledger], tasks: Iterable[Task]) -> set[str]:
    """Dropped shards that something yet to be made has to read: by ``tasks``, by stages that follow them or
    that have no artifact yet, or by a training.
    """
    level = transient_level(graph.chain)
    if level is None or not ledgers[level].dropped:
        return set()
    ledger = ledgers[level]
    done = ledger.table.filter(pc.equal(ledger.table["status"].cast(pa.string()), "done"))
    gone = ledger.dropped & set(pc.unique(done["shard"].cast(pa.string())).to_pylist())
    levels = reader_levels(graph.chain)
    needed = {
        shard
        for task in tasks
        if level < task.level <= max(levels, default=0) and (shard := lineage.at(task.shard, level)) in gone
    }
    if any(not graph.chain[below].artifact.exists() for below in levels):
        needed |= gone & _with_current_videos(ledger)
    for fit in reading_fits(graph):
        if whole.current(fit.folder) is None:
            needed |= _read_by(fit, ledgers[0], gone & _with_current_videos(ledger))
    return needed


def _with_current_videos(ledger: Ledger) -> set[str]:
    return set(ledger.with_status("done")["shard"].cast(pa.string()).to_pylist())


def _read_by(fit: BoundWhole, catalog: Ledger, shards: Set[str]) -> Set[str]:
    if not fit.sample:
        return shards
    sampled = sampled_shards(catalog, fit.sample)
    return {shard for shard in shards if lineage.root(shard) in sampled}


def behind(chain: Chain, tasks: Sequence[Task], needed: Collection[str]) -> list[Task]:
    """``tasks`` with those that read a ``needed`` dropped shard put behind the task that makes it anew."""
    level = transient_level(chain)
    if level is None or not needed:
        return list(tasks)
    waiting: dict[str, list[Task]] = {shard: [] for shard in sorted(needed)}
    free: list[Task] = []
    for task in tasks:
        shard = lineage.at(task.shard, level) if task.level > level else ""
        waiting.get(shard, free).append(task)
    return [replace(task_again(chain, level, s), then=then) for s, then in waiting.items()] + free


class Dropper:
    """Removes features of finished videos while a run goes on. Does nothing with ``keep: all``.

    A shard goes when everything of the recipe that reads it is there, no task that this run has planned reads
    it, and no other living run works on the artifact.

    Args:
        graph: the recipe.
        run_id: this run's, whose record says that it works on the artifact.
    """

    def __init__(self, graph: Graph, run_id: str) -> None:
        self._graph, self._run_id = graph, run_id
        level = transient_level(graph.chain)
        levels, self._fits = reader_levels(graph.chain), reading_fits(graph)
        self._level, self._last = level or 0, max(levels, default=level or 0)
        self._on = graph.config.keep == "results" and level is not None and bool(levels or self._fits)
        self._planned: dict[str, set[tuple[int, str]]] = {}

    def expect(self, tasks: Iterable[Task]) -> None:
        """Spare what ``tasks``, a new plan's, will read."""
        self._planned = {}
        for task in (task for planned in tasks for task in (planned, *planned.then)):
            if self._level < task.level <= self._last:
                shard = lineage.at(task.shard, self._level)
                self._planned.setdefault(shard, set()).add((task.level, task.shard))

    def take(self, receipt: Receipt) -> None:
        """Drop the shard that ``receipt`` was the last one to wait for."""
        if self._on and receipt.level >= self._level:
            shard = lineage.at(receipt.shard, self._level)
            self._planned.get(shard, set()).discard((receipt.level, receipt.shard))
            self._drop(shard)

    def sweep(self) -> None:
        """Drop what earlier runs have left, and what a killed one has marked and not removed."""
        if not self._on:
            return
        artifact = self._graph.chain[self._level].artifact
        for shard in artifact.committed():
            if artifact.shard(shard).exists():
                self._drop(shard)

    def _drop(self, shard: str) -> None:
        """Of a shard with a mark only the file is left over; but another run may be making it anew."""
        artifact = self._graph.chain[self._level].artifact
        if self._planned.get(shard) or not self._finished(shard) or self._used_elsewhere():
            return
        dropping.drop(artifact, shard, self._used_elsewhere)

    def _used_elsewhere(self) -> bool:
        return used_elsewhere(self._graph, self._run_id)

    def _finished(self, shard: str) -> bool:
        trained = all(whole.current(fit.folder) is not None for fit in self._fits)
        return trained and _read(self._graph.chain, self._level, shard, self._last)


def used_elsewhere(graph: Graph, run_id: str) -> bool:
    """Whether another living run than ``run_id`` works on the recipe's transient artifact."""
    level = transient_level(graph.chain)
    if level is None:
        return False
    name = graph.chain[level].artifact.root.name
    return any(name in run.status.get("works_on", ()) for run in _other_runs(graph, run_id))


def _read(chain: Chain, level: int, shard: str, last: int) -> bool:
    """Whether all that follows from a committed ``shard`` is committed, down to the stage ``last``."""
    if level == last:
        return True
    below = chain[level + 1].artifact
    return all(
        below.manifest(task.shard).exists() and _read(chain, level + 1, task.shard, last)
        for task in tasks_below(chain, level, shard, committed=True)
    )


def _other_runs(graph: Graph, run_id: str) -> list[RunStatus]:
    """Runs on the store, beside ``run_id``, that may be alive; records that are too old are not even read."""
    found = []
    for path in matches(runs_folder(graph.store), "*/status.json"):
        if path.parent.name == run_id:
            continue
        try:
            run = status_of(path) if time.time() - path.stat().st_mtime < STALE_S else None
        except FileNotFoundError:
            continue
        if run is not None and run.alive and not _gone(run):
            found.append(run)
    return found


def _gone(run: RunStatus) -> bool:
    """Whether the run's process was on this machine and is there no more."""
    mine = run.status.get("host") == socket.gethostname()
    return mine and run.status.get("pid") != os.getpid() and not psutil.pid_exists(int(run.status["pid"]))
