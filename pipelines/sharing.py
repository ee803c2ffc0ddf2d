"""Runs that share a store: which are alive, what they are at work on, and how one waits for another.

Runs divide the work by leases (`stages.artifacts.leases`): a shard that another run is making is left to it
and the rest is done; then a run waits until what it has left is committed, or nobody makes it any more.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from cluster.chain import Chain, Receipt, Task
from cluster.execute import found_receipt
from pipelines.graph import Graph
from pipelines.runs import RunStatus, runs_folder, status_of, status_or_age
from stages.artifacts import leases
from stages.artifacts.place import Place

FIRST_POLL_S, LONGEST_POLL_S = 0.1, 5.0
"""Pauses between two looks at what another run makes: they grow from the first to the longest."""
TELL_AFTER_S, TELL_S = 2.0, 60.0
"""When the first line on what is waited for comes, and how far apart the lines are, in seconds."""

_over: set[str] = set()
"""Records of runs that have ended: they never change again."""


@dataclass(frozen=True)
class Held:
    """A shard that another run was making when this one came to it.

    Attributes:
        task: what there is to do; with ``replace`` the shard is committed, and is being made again.
        holder: who makes it, in words.
    """

    task: Task
    holder: str

    @classmethod
    def of(cls, receipt: Receipt) -> Held:
        """What ``receipt`` was held for."""
        return cls(Task.load(receipt.task), receipt.held)


def works_on(graph: Graph) -> list[str]:
    """Names of the artifacts that a run of ``graph`` fills or reads."""
    return [bound.artifact.root.name for bound in graph.chain] + [item.folder.name for item in graph.whole]


def living_runs(store: Place, besides: str = "") -> list[RunStatus]:
    """Runs on the store that may be alive, but for the run ``besides``."""
    found = []
    try:
        folders: list[Place] = list(runs_folder(store).iterdir())
    except FileNotFoundError:
        return []
    for path in (folder / "status.json" for folder in sorted(folders, key=str)):
        if path.parent.name == besides or str(path) in _over:
            continue
        run = status_or_age(path)
        if run is None:
            continue
        if run.status["state"] != "running":
            _over.add(str(path))
        elif run.alive:
            found.append(run)
    return found


def all_held(chain: Chain, tasks: Sequence[Task], run_id: str) -> list[Held]:
    """What others make of ``tasks``, if that is all of them; else nothing."""
    found = []
    for task in tasks:
        holder = leases.holder(chain[task.level].artifact.lease(task.shard), run_id)
        if holder is None:
            return []
        found.append(Held(task, str(holder)))
    return found


@dataclass
class Sorted:
    """What has become of tasks that others had, and of what follows from them.

    Attributes:
        found: receipts of those that are committed.
        held: those that others are making.
        free: the rest, which nobody makes.
    """

    found: list[Receipt] = field(default_factory=list)
    held: list[Held] = field(default_factory=list)
    free: list[Task] = field(default_factory=list)


def sort_out(chain: Chain, held: Sequence[Held], run_id: str) -> Sorted:
    """Look at what was ``held`` and at nothing else: a plan would look at the whole store.

    Raises:
        StoreError, DamagedError: what is committed can't be read.
    """
    now, todo = Sorted(), deque(item.task for item in held)
    while todo:
        task = todo.popleft()
        if (receipt := found_receipt(chain, task)) is not None:
            now.found.append(receipt)
            todo.extendleft(reversed(receipt.next))
        elif (holder := leases.holder(chain[task.level].artifact.lease(task.shard), run_id)) is not None:
            now.held.append(Held(task, str(holder)))
        else:
            now.free.append(task)
    return now


def wait_for_any(chain: Chain, held: Sequence[Held], run_id: str, say: Callable[[str], None]) -> None:
    """Wait until one of the ``held`` shards is committed, or nobody makes it any more.

    Args:
        say: called with a line for the user when the wait takes long, and every `TELL_S` seconds.
    """
    pause, began = FIRST_POLL_S, time.monotonic()
    due = began + TELL_AFTER_S
    while not any(_is_free(chain, item, run_id) for item in held):
        if time.monotonic() >= due:
            due = time.monotonic() + TELL_S
            say(_told(held, time.monotonic() - began))
        time.sleep(pause)
        pause = min(pause * 1.5, LONGEST_POLL_S)


def _is_free(chain: Chain, held: Held, run_id: str) -> bool:
    artifact, task = chain[held.task.level].artifact, held.task
    if not task.replace and artifact.manifest(task.shard).exists():
        return True
    return leases.holder(artifact.lease(task.shard), run_id) is None


def _told(held: Sequence[Held], seconds: float) -> str:
    shards = f"{len(held)} shard{'s' * (len(held) != 1)}"
    makers = sorted({item.holder for item in held})
    others = f" and {len(makers) - 1} more" if len(makers) > 1 else ""
    return f"waiting for {shards} that {makers[0]}{others} is making ({seconds:.0f} s so far)"


def release_ended(graph: Graph) -> None:
    """Take away the leases of runs whose record says that they have ended: nobody needs to wait for those."""
    for bound in graph.chain:
        for path in lease_files(bound.artifact.root):
            found = leases.recorded(path)
            if found is not None and has_ended(graph.store, found.run):
                path.unlink(missing_ok=True)


def lease_files(root: Place) -> list[Place]:
    """The leases of an artifact's shards: one listing."""
    try:
        return [path for path in (root / "leases").iterdir() if path.name.endswith(".json")]
    except FileNotFoundError:
        return []


def has_ended(store: Place, run: str) -> bool:
    """Whether the record of ``run`` says that it has ended."""
    found = status_of(runs_folder(store) / run / "status.json") if run else None
    return found is not None and found.status["state"] != "running"


def of_artifact(runs: Iterable[RunStatus], name: str) -> list[RunStatus]:
    """Those of ``runs`` that work on the artifact ``name``; one that doesn't say may work on any."""
    return [run for run in runs if name in run.status.get("works_on", (name,))]
