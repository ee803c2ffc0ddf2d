"""The record of runs in a store: what was asked for, whether it is alive, how far it is.

``<store>/runs/<run>/`` holds ``config.yaml`` (the resolved configuration), ``status.json``, rewritten every
few seconds while the run lives, ``events.jsonl`` (`pipelines.events`), and in ``workers/`` what each worker
does (`cluster.watching`). A run whose status is older than `STALE_S` counts as dead, and one whose process
was on this machine and is there no more counts as killed at once.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import json
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import yaml

from cluster.chain import Receipt
from cluster.watching import new_run_id, run_folder, workers_folder
from configs.compose import to_dict
from configs.schema import Config
from pipelines.events import NAME, Events
from stages import logs
from stages.artifacts import atomic
from stages.artifacts.place import Place, matches

BEAT_S = 10.0
"""Seconds between two heartbeats."""
STALE_S = 600.0
"""Age in seconds at which a heartbeat no longer proves a living run."""
BORN_S = 1.0
"""Within which two looks at when a process began agree."""

_log = logging.getLogger(__name__)


def runs_folder(store: Place) -> Place:
    """Where the records of runs lie."""
    return store / "runs"


class RunRecord:
    """A run's own record, kept fresh by a thread until it is closed.

    Args:
        works_on: names of the artifacts that it fills or reads: others leave their shards alone meanwhile.
        keeps: it needs features even where another run of the same recipe is done with them.

    Attributes:
        id: the run's name.
        folder: where the record lies.
        events: what has happened so far.
    """

    def __init__(
        self, store: Place, config: Config, works_on: Sequence[str] = (), keeps: bool = True
    ) -> None:
        self.id = new_run_id(config.recipe)
        self.folder = run_folder(store, self.id)
        self._status: dict[str, Any] = {
            "run": self.id,
            "recipe": config.recipe,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "machine": _machine(),
            "born": psutil.Process().create_time(),
            "started": _seconds_now(),
            "state": "running",
            "works_on": list(works_on),
            "keeps": keeps,
            "stages": {},
        }
        text = yaml.safe_dump(to_dict(config), sort_keys=False, allow_unicode=True).encode()
        atomic.write_bytes(self.folder / "config.yaml", text)
        logs.about(run=self.id)
        self.events = Events(self.folder / NAME)
        about = {name: self._status[name] for name in ("run", "recipe", "host", "pid")}
        self.events.add(
            "run_started", **about, settings=hashlib.sha256(text).hexdigest(), artifacts=list(works_on)
        )
        self._lock = threading.Lock()
        self._seconds: dict[str, float] = {}
        self._looks: list[Callable[[], None]] = []
        self._ended = threading.Event()
        self._beat()
        self._thread = threading.Thread(target=self._keep_beating, name="heartbeat", daemon=True)
        self._thread.start()

    def update(self, stages: dict[str, Any]) -> None:
        """Set the per-stage counts that the next heartbeat will carry."""
        with self._lock:
            self._status["stages"] = stages

    def note(self, **facts: Any) -> None:
        """Set entries of ``status.json``; the next heartbeat carries them."""
        with self._lock:
            self._status |= facts

    def receipt(self, stage: str, receipt: Receipt) -> None:
        """Note what became of a shard of ``stage``."""
        self.events.receipt(stage, receipt)

    def waits(self, what: str) -> None:
        """What the run as a whole waits for from now on, in words; "" for nothing."""
        with self._lock:
            changed = self._status.get("waits_for", "") != what
            self._status["waits_for"] = what
        if changed and what:
            self.events.add("waiting", what=what)

    def watch_nodes(self, nodes: Callable[[], Mapping[str, Any]]) -> None:
        """Have each heartbeat ask for the living nodes by id, and note which have come and gone."""
        self._looks.append(lambda: self._compare(nodes()))

    @contextlib.contextmanager
    def streaming(self) -> Iterator[None]:
        """Within, workers make shards; what they said of themselves is void afterwards."""
        try:
            yield
        finally:
            self._clear_workers()

    @contextlib.contextmanager
    def training(self, stage: str, name: str, checkpoints: Place) -> Iterator[None]:
        """Within, the model ``name`` is trained; ``checkpoints`` is the folder of its checkpoints."""
        self.events.add("training_started", stage=stage, name=name, checkpoints=str(checkpoints))
        self.waits(f"the training of {name}")
        began, seen = time.monotonic(), _checkpoints(checkpoints)

        def look() -> None:
            for path in sorted(_checkpoints(checkpoints) - seen):
                seen.add(path)
                self.events.add("checkpoint", stage=stage, name=path)

        self._looks.append(look)
        try:
            with self.timed(stage):
                yield
            look()
            seconds = round(time.monotonic() - began, 3)
            self.events.add("training_finished", stage=stage, name=name, seconds=seconds)
        finally:
            self._looks.remove(look)
            self.waits("")
            self._clear_workers()

    @contextlib.contextmanager
    def timed(self, kind: str) -> Iterator[None]:
        """Count the seconds within as spent on the stage ``kind``."""
        began = time.monotonic()
        try:
            yield
        finally:
            with self._lock:
                self._seconds[kind] = self._seconds.get(kind, 0.0) + time.monotonic() - began

    @property
    def stages(self) -> dict[str, Any]:
        """What this run did, by stage: counts of map stages, seconds of the others."""
        with self._lock:
            others = {kind: {"seconds": seconds} for kind, seconds in self._seconds.items()}
            return {**self._status["stages"], **others}

    def made(self, artifacts: Mapping[str, str]) -> None:
        """Note where the run's results lie, by kind of artifact."""
        with self._lock:
            self._status["artifacts"] = dict(artifacts)

    def close(self, state: str, exit_code: int, error: str = "") -> None:
        """End the record with ``state`` (finished, failed, interrupted) and the ``error`` that ended it."""
        self._ended.set()
        self._thread.join()
        more = {"error": error} if error else {}
        self.events.add(state, exit_code=exit_code, **more)
        with self._lock:
            self._status |= {"state": state, "exit_code": exit_code, "ended": _seconds_now(), **more}
        self._try_to_beat()  # what ended the run must not be hidden by this
        self._clear_workers()
        logs.about(run=None)

    def _keep_beating(self) -> None:
        while not self._ended.wait(BEAT_S):
            try:
                for look in list(self._looks):
                    look()
            except Exception as error:  # noqa: BLE001 - who doesn't beat is taken for dead, and --gc for its files
                _log.warning("nodes or checkpoints can't be looked at: %s", error)
            self._try_to_beat()

    def _try_to_beat(self) -> None:
        try:
            self._beat()
        except OSError as error:  # a full disk, a store out of reach: it may be back at the next beat
            _log.warning("the run's heartbeat can't be written: %s", error)

    def _beat(self) -> None:
        self.events.flush()
        with self._lock:
            self._status["heartbeat"] = time.time()
            data = json.dumps(self._status, indent=2).encode()
        atomic.write_bytes(self.folder / "status.json", data)

    def _compare(self, nodes: Mapping[str, Any]) -> None:
        """Note which nodes have come and gone; {} where the runner is not there yet, or no more."""
        before, now = self._status.get("nodes", {}), dict(nodes)
        if not now:
            return
        for node in now.keys() - before.keys():
            self.events.add("node_joined", node=node, **now[node])
        for node in before.keys() - now.keys():
            self.events.add("node_lost", node=node, **before[node])
        with self._lock:
            self._status["nodes"] = now

    def _clear_workers(self) -> None:
        folder = workers_folder(self.folder)
        try:
            found: list[Place] = list(folder.iterdir())
            for path in found:
                path.unlink(missing_ok=True)
        except FileNotFoundError:
            pass
        except OSError as error:
            _log.warning("%s can't be emptied: %s", folder, error)


def _seconds_now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _checkpoints(folder: Place) -> set[str]:
    """Names of the checkpoints below ``folder``, which has one folder per part of a training."""
    try:
        parts = [path for path in folder.iterdir() if path.is_dir()]
        names = [f"{part.name}/{path.name}" for part in parts for path in part.iterdir()]
    except OSError:  # not there yet, or one was just removed
        return set()
    return {name for name in names if "/step-" in name}


def _machine() -> str:
    """Where process ids mean the same: this boot of this machine, this namespace of processes; or ""."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


@dataclass(frozen=True)
class RunStatus:
    """A run as seen from outside."""

    folder: Place
    status: dict[str, Any]

    @property
    def age_s(self) -> float:
        """Seconds since the last heartbeat."""
        return time.time() - float(self.status["heartbeat"])

    @property
    def state(self) -> str:
        """``running``, ``finished``, ``failed``, ``interrupted``, or ``killed`` (ended without a word)."""
        state = str(self.status["state"])
        return "killed" if state == "running" and not self.alive else state

    @property
    def alive(self) -> bool:
        """Whether the run may still be working. On this machine its process tells, however long it has stood
        still; elsewhere its last heartbeat."""
        there = self._there
        return self.status["state"] == "running" and (self.age_s < STALE_S if there is None else there)

    @property
    def _there(self) -> bool | None:
        """Whether the run's process is on this machine; None where that can't be said from here."""
        if not _machine() or self.status.get("machine") != _machine():
            return None
        try:
            process = psutil.Process(int(self.status["pid"]))
            if process.status() == psutil.STATUS_ZOMBIE:
                return False
            # ids are used again, and where a clock was set, times of birth differ: then the heartbeat tells
            return True if abs(process.create_time() - self.status.get("born", 0.0)) <= BORN_S else None
        except psutil.NoSuchProcess:
            return False
        except psutil.Error:
            return None


def status_of(path: Place) -> RunStatus | None:
    """The run whose ``status.json`` is at ``path``; None if it can't be read."""
    try:
        return RunStatus(path.parent, json.loads(path.read_text()))
    except (OSError, ValueError):
        return None


def status_or_age(path: Place) -> RunStatus | None:
    """As `status_of`; but of a record that is there and can't be read, a run that may work on anything and
    whose last heartbeat is the file's age. On network file systems that is met while a record is replaced.

    Raises:
        OSError: the store can't be reached.
    """
    try:
        if (found := status_of(path)) is not None:
            return found
        try:
            written = path.stat().st_mtime
        except PermissionError:
            written = path.parent.stat().st_mtime  # which every heartbeat changes
    except (FileNotFoundError, NotADirectoryError):
        return None  # it has not begun
    began = datetime.datetime.fromtimestamp(0, datetime.UTC).isoformat()
    unknown = {"run": path.parent.name, "state": "running", "heartbeat": written, "started": began}
    return RunStatus(path.parent, unknown)


def latest_runs(store: Place, count: int) -> list[RunStatus]:
    """The ``count`` latest recorded runs, newest first; records that can't be read are left out."""
    folder = runs_folder(store)
    try:
        names = sorted((path.name for path in folder.iterdir()), reverse=True)
    except FileNotFoundError:
        names = []
    found = (status_of(folder / name / "status.json") for name in names[:count])
    return [run for run in found if run is not None]


def all_runs(store: Place) -> list[RunStatus]:
    """All recorded runs, oldest first; records that can't be read are left out."""
    paths = matches(runs_folder(store), "*/status.json")
    return [run for run in map(status_of, paths) if run is not None]
