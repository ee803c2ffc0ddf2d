"""Leases: who is making a shard or a model right now, so that runs on one store divide the work.

A lease is a small file beside the results, created exclusively, renewed while its holder works and removed
afterwards. It is advisory. What makes results right is the commit (`stages.artifacts.commit`) and that the
same items give the same bytes whoever makes them; a lease that is lost, stolen or held twice costs work done
twice and nothing else. So every failure here is on the side of going on: a lease that can't be written is
done without, and one that is expired, unreadable, or of a process of this machine that has ended is taken
over. Of two that take it over at once, the one whose file stays has it.

The expiry is wall-clock time of the holder. A living one has at least two thirds of `LIFE_S` left, so clocks
of machines may differ by up to `SKEW_S`: then no living holder's lease looks expired, and one that lies
further ahead than such clocks can say is taken for unreadable. Beyond that bound shards may be made twice.

``$TUBEFLOW_LEASE_S`` sets another life in seconds (tests make it short).
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from stages.artifacts import atomic
from stages.artifacts.place import Place
from stages.errors import SettingsError

LIFE_S = 60.0
"""Seconds after its last renewal at which a lease expires; it is renewed three times as often."""
RENEWALS = 3
"""Renewals within the life of a lease."""
SKEW_S = 30.0
"""By how many seconds the clocks of two machines may differ."""
SETTLE_S = 0.2
"""Seconds after which one that has taken a lease over looks whether it still has it."""
POLL_S = (0.05, 2.0)
"""First and longest pause in seconds between two looks at a lease that is waited for."""
TELL_S = 60.0
"""Seconds between two words on what is waited for."""

_TRIES = 3
_MOST_STARTS = 8
"""Of so many runs a lease remembers where they began the work."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Holder:
    """Who has a lease: the content of its file.

    Attributes:
        run: id of the run, or ``""`` where none has one.
        host, pid: machine and process, for people.
        place: what tells this machine, boot and process namespace from others.
        born: when the process began, in seconds since 1970 on its machine: process ids are used again.
        token: unique per taking.
        expires: seconds since 1970.
        life: seconds from a renewal to the expiry.
        starts: the nodes on which each of the latest runs has begun the work, one entry each time.
    """

    run: str
    host: str
    place: str
    pid: int
    born: float
    token: str
    expires: float
    life: float
    starts: dict[str, list[str]]

    def __str__(self) -> str:
        return f"run {self.run} on {self.host}" if self.run else f"process {self.pid} on {self.host}"

    @property
    def over(self) -> bool:
        """Whether nobody can be at work under this lease any more."""
        left = self.expires - time.time()
        return not 0 < left <= self.life + SKEW_S or self._ended

    @property
    def _ended(self) -> bool:
        """Whether its process was on this machine and is there no more."""
        if self.place != _place():
            return False
        try:
            process = psutil.Process(self.pid)
            return process.status() == psutil.STATUS_ZOMBIE or abs(process.create_time() - self.born) > 1
        except psutil.NoSuchProcess:
            return True
        except psutil.Error:
            return False

    def dump(self) -> bytes:
        """The content of its file."""
        return (json.dumps(asdict(self), sort_keys=True) + "\n").encode()


class Lease:
    """A lease that this process has; within ``with`` it is renewed, and afterwards it is gone."""

    def __init__(self, path: Place, holder: Holder) -> None:
        self._path, self._holder = path, holder
        self._lost = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)

    @property
    def starts(self) -> list[str]:
        """The nodes on which this run has begun the work, one entry each time, the last for this time."""
        return self._holder.starts[self._holder.run]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        try:
            # one that slept for long may find its lease with somebody else
            if not self._lost and (self._holder.expires > time.time() or self._is_mine()):
                self._path.unlink(missing_ok=True)
        except OSError:
            _log.debug("lease %s can't be removed", self._path, exc_info=True)

    def _keep(self) -> None:
        while not self._lost and not self._ended.wait(self._holder.life / RENEWALS):
            try:
                self._renew()
            except OSError:  # the next time, then
                _log.debug("lease %s can't be renewed", self._path, exc_info=True)

    def _renew(self) -> None:
        renewed = replace(self._holder, expires=time.time() + self._holder.life)
        try:
            mine = self._is_mine()
        except FileNotFoundError:
            mine = atomic.create(self._path, renewed.dump())
        else:
            if mine:
                atomic.write_bytes(self._path, renewed.dump())
        self._lost = not mine
        self._holder = renewed

    def _is_mine(self) -> bool:
        found = _read(self._path)
        return found is not None and found.token == self._holder.token


def take(path: Place, run: str = "", node: str = "") -> Lease | Holder:
    """The lease at ``path`` for this process, or who has it.

    Args:
        run: id of the run. It gets its own lease back at once: a worker of it that held it has been replaced.
        node: where this process is; it is remembered with the start (`Lease.starts`).

    Raises:
        SettingsError: ``$TUBEFLOW_LEASE_S`` is no number of seconds.
    """
    mine = _new(run, node)
    try:
        for _ in range(_TRIES):
            if atomic.create(path, mine.dump()):
                break
            try:
                found = _read(path)
            except FileNotFoundError:  # released this moment
                continue
            if found is not None and not _free(found, run):
                return found
            return _take_over(path, found, mine)
    except OSError:
        _log.debug("lease %s is done without", path, exc_info=True)
    return Lease(path, mine)


def holder(path: Place, run: str = "") -> Holder | None:
    """Who else than ``run`` is at work under the lease at ``path``, as far as it says; None if nobody is."""
    try:
        found = _read(path)
    except OSError:
        return None
    return None if found is None or _free(found, run) else found


def recorded(path: Place) -> Holder | None:
    """What the lease at ``path`` says, whether or not it is over; None where it can't be read."""
    try:
        return _read(path)
    except OSError:
        return None


@contextlib.contextmanager
def exclusively(path: Place, tell: Callable[[Holder], None] | None = None) -> Iterator[None]:
    """Hold the lease at ``path``; waits while another process has it, be it of the same run.

    Args:
        tell: called with who has it when the wait begins, and every `TELL_S` seconds.
    """
    told, pause = -TELL_S, POLL_S[0]
    while True:
        found = holder(path) or take(path)
        if isinstance(found, Lease):
            break
        if tell is not None and time.monotonic() - told >= TELL_S:
            told = time.monotonic()
            tell(found)
        time.sleep(pause)
        pause = min(pause * 1.5, POLL_S[1])
    with found:
        yield


def life_s() -> float:
    """The life of new leases, in seconds."""
    text = os.environ.get("TUBEFLOW_LEASE_S", "")
    try:
        life = float(text or LIFE_S)
    except ValueError:
        life = 0.0
    if not 0 < life < float("inf"):
        raise SettingsError(f"TUBEFLOW_LEASE_S={text}: must be a number of seconds above 0")
    return life


def _free(found: Holder, run: str) -> bool:
    return found.over or (run != "" and found.run == run)


def _take_over(path: Place, found: Holder | None, mine: Holder) -> Lease | Holder:
    before = found.starts if found is not None else {}
    latest = {run: nodes for run, nodes in list(before.items())[-_MOST_STARTS:] if run != mine.run}
    starts = [*before.get(mine.run, []), *mine.starts[mine.run]]
    mine = replace(mine, starts={**latest, mine.run: starts})
    atomic.write_bytes(path, mine.dump())
    if found is None or not mine.run or found.run != mine.run:
        time.sleep(SETTLE_S)  # others may have seen that it was free, too: who writes last has it
        now = holder(path)
        if now is not None and now.token != mine.token:
            return now
    return Lease(path, mine)


def _new(run: str, node: str) -> Holder:
    pid, life = os.getpid(), life_s()
    born = psutil.Process(pid).create_time()
    expires = time.time() + life
    host, token, starts = socket.gethostname(), uuid.uuid4().hex, {run: [node]}
    return Holder(run, host, _place(), pid, born, token, expires, life, starts)


def _read(path: Place) -> Holder | None:
    """The content of the lease at ``path``; None where it makes no sense.

    Raises:
        FileNotFoundError: there is none.
    """
    data = path.read_bytes()
    try:
        fields = json.loads(data)
        found = Holder(**fields)
        _ = found.expires + found.life + found.born + found.pid, found.run + found.host
        _ = [[*nodes] for nodes in dict(found.starts).values()]
    except (ValueError, TypeError):
        return None
    return found


@cache
def _place() -> str:
    """This machine since its last start, and the processes that can be seen from here."""
    parts = [socket.gethostname()]
    for read in (
        lambda: Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
        lambda: os.readlink("/proc/self/ns/pid"),  # noqa: PTH115 - it names no file
    ):
        with contextlib.suppress(OSError):
            parts.append(read())
    return " ".join(parts)
