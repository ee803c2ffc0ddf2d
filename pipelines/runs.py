"""The record of runs in a store: what was asked for, whether it is alive, how far it is.

``<store>/runs/<run>/`` holds ``config.yaml`` (the resolved configuration) and ``status.json``, rewritten
every few seconds while the run lives. A run whose status is older than `STALE_S` counts as dead.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from configs.compose import to_dict
from configs.schema import Config
from stages.artifacts import atomic
from stages.artifacts.place import Place, matches

BEAT_S = 10.0
"""Seconds between two heartbeats."""
STALE_S = 600.0
"""Age in seconds at which a heartbeat no longer proves a living run."""


def runs_folder(store: Place) -> Place:
    """Where the records of runs lie."""
    return store / "runs"


class RunRecord:
    """A run's own record, kept fresh by a thread until it is closed.

    Args:
        works_on: names of the artifacts that it fills or reads: others leave their shards alone meanwhile.
    """

    def __init__(self, store: Place, config: Config, works_on: Sequence[str] = ()) -> None:
        now = datetime.datetime.now(datetime.UTC)
        self.id = f"{now:%Y%m%d-%H%M%S}-{config.recipe}-{uuid.uuid4().hex[:4]}"
        self.folder = runs_folder(store) / self.id
        self._status: dict[str, Any] = {
            "run": self.id,
            "recipe": config.recipe,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "started": now.isoformat(timespec="seconds"),
            "state": "running",
            "works_on": list(works_on),
            "stages": {},
        }
        text = yaml.safe_dump(to_dict(config), sort_keys=False, allow_unicode=True)
        atomic.write_bytes(self.folder / "config.yaml", text.encode())
        self._lock = threading.Lock()
        self._seconds: dict[str, float] = {}
        self._ended = threading.Event()
        self._beat()
        self._thread = threading.Thread(target=self._keep_beating, name="heartbeat", daemon=True)
        self._thread.start()

    def update(self, stages: dict[str, Any]) -> None:
        """Set the per-stage counts that the next heartbeat will carry."""
        with self._lock:
            self._status["stages"] = stages

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

    def close(self, state: str, exit_code: int) -> None:
        """End the record with ``state`` (finished, failed or interrupted)."""
        self._ended.set()
        self._thread.join()
        with self._lock:
            ended = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
            self._status |= {"state": state, "exit_code": exit_code, "ended": ended}
        self._beat()

    def _keep_beating(self) -> None:
        while not self._ended.wait(BEAT_S):
            self._beat()

    def _beat(self) -> None:
        with self._lock:
            self._status["heartbeat"] = time.time()
            data = json.dumps(self._status, indent=2).encode()
        atomic.write_bytes(self.folder / "status.json", data)


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
        return "killed" if state == "running" and self.age_s >= STALE_S else state

    @property
    def alive(self) -> bool:
        """Whether the run may still be working."""
        return self.state == "running"


def status_of(path: Place) -> RunStatus | None:
    """The run whose ``status.json`` is at ``path``; None if it can't be read."""
    try:
        return RunStatus(path.parent, json.loads(path.read_text()))
    except (OSError, ValueError):
        return None


def all_runs(store: Place) -> list[RunStatus]:
    """All recorded runs, oldest first; records that can't be read are left out."""
    paths = matches(runs_folder(store), "*/status.json")
    return [run for run in map(status_of, paths) if run is not None]
