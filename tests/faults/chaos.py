"""Nodes and drivers killed by a seeded schedule that follows a run's progress, not the clock.

An event is due when so many shards are committed, so that a seed does the same on a fast and on a slow
machine (up to what is committed in the moment of the kill). A gate that opens after the last event keeps the
run from being over before.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.nodes import Node, Nodes
from tests.faults.gates import Gates
from tests.faults.processes import Run, started

DRIVER = -1


@dataclass(frozen=True)
class Kill:
    """What is killed at which number of commits, and how many commits later it is brought back.

    Attributes:
        victims: places of worker nodes in `Nodes.workers`; `DRIVER` is the driver, which is started again at
            once.
    """

    at: int
    victims: tuple[int, ...]
    back: int


def schedule(seed: int, commits: int, nodes: int, kills: int, driver: bool) -> list[Kill]:
    """Kills of single nodes, now and then of all, between the first of ``commits`` and the last but one.

    Args:
        driver: one of the kills is the driver's.
    """
    dice = random.Random(seed)
    moments = sorted(dice.sample(range(1, commits - 1), kills))
    found = []
    for moment in moments:
        everything = dice.random() < 0.25
        victims = tuple(range(nodes)) if everything else (dice.randrange(nodes),)
        found.append(Kill(moment, victims, dice.randrange(1, 4)))
    if driver:
        place = dice.randrange(kills)
        found[place] = Kill(found[place].at, (DRIVER,), 0)
    return found


class Chaos:
    """One command on a cluster, disturbed; `until_done` returns when it has ended well.

    Args:
        progress: counts the commits so far.
        command: arguments of ``pipelines/run.py``.
        gate: where the run can't get past before all is done that is due. Once it is reached, commits may
            come to a halt, and the next event doesn't wait for more of them.
    """

    def __init__(
        self, nodes: Nodes, progress: Callable[[], int], command: Sequence[object], gate: Gates
    ) -> None:
        self._nodes, self._progress, self._command, self._gate = nodes, progress, command, gate
        self._lost: list[tuple[int, Node]] = []
        self._said = 0
        self.log: list[str] = []
        self.output = ""

    def until_done(self, kills: Sequence[Kill], timeout: float = 500) -> None:
        """Run the command, again where its driver is killed, and do what ``kills`` says meanwhile."""
        due = list(kills)
        end = time.monotonic() + timeout
        while self._sitting(due, end):
            self._note("driver killed, the same command again")
        while self._lost:  # the next run finds all nodes
            self._nodes.bring_back(self._lost.pop()[1])

    def _sitting(self, due: list[Kill], end: float) -> bool:
        """One driver from its start to its end; whether it was killed."""
        with self._started() as run:
            while not run.ended:
                assert time.monotonic() < end, f"not done in time\n{self.log}\n{self.output}{run.output}"
                count = self._progress()
                self._bring_back(count, run)
                if due and (count >= due[0].at or self._gate.reached):
                    kill = due.pop(0)
                    if not due:
                        self._gate.open()
                    if kill.victims == (DRIVER,):
                        run.process.kill()
                        run.process.wait()
                        return True
                    self._kill(kill, count, run)
                time.sleep(0.01)
            assert run.process.returncode == 0, f"{self.log}\n{self.output}{run.output}"
        return False

    @contextlib.contextmanager
    def _started(self) -> Iterator[Run]:
        with started(*self._command, **self._nodes.env) as run:
            try:
                yield run
            finally:
                self.output += run.output

    def _kill(self, kill: Kill, count: int, run: Run) -> None:
        victims = [node for node in (self._nodes.workers[place] for place in kill.victims) if node.alive]
        for node in victims:
            node.kill()
            self._lost.append((count + kill.back, node))
        self._said = len(run.output)
        self._note(f"{len(victims)} nodes killed, places {kill.victims}")

    def _bring_back(self, count: int, run: Run) -> None:
        """Those whose time has come; and one as soon as none is left and the run has said that it waits."""
        due = [lost for lost in self._lost if count >= lost[0]]
        if not due and self._lost and not any(node.alive for node in self._nodes.workers):
            due = self._lost[:1] if "waiting for nodes" in run.output[self._said :] else []
        for lost in due:
            self._lost.remove(lost)
            self._nodes.bring_back(lost[1], wait=False)
            self._note("a node is back")

    def _note(self, text: str) -> None:
        self.log.append(f"at {self._progress()} commits: {text}")


def commits(store: Path) -> int:
    """Committed shards of all artifacts."""
    return sum(not path.name.startswith(".") for path in store.glob("*/*/manifest/*.parquet"))
