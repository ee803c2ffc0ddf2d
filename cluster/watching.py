"""What a worker tells about its work while it works: a small file in the run's folder, log lines, metrics.

The file, ``<store>/runs/<run>/workers/<host>-<pid>.json``, says which shard its process is making and since
when. A thread rewrites it every few seconds while something changes, so that shards of any size cost the
same, and ``--status`` sees all nodes through the store alone. Nothing here can stop a run.
"""

from __future__ import annotations

import datetime
import json
import logging
import os
import socket
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from cluster.chain import Chain, Receipt, Task
from stages import logs
from stages.artifacts import atomic
from stages.artifacts.place import Place
from stages.outcome import Outcome, Rejected

WRITE_S = 5.0
"""Seconds between two looks of the thread that writes a worker's file."""
TRAINING_LOG_S = 30.0
"""Shortest time in seconds between two log lines of a training."""

_log = logging.getLogger(__name__)


def new_run_id(recipe: str) -> str:
    """A fresh id of a run: UTC time to the second, the recipe, and the second's fraction in four hexadecimal
    digits. Ids of a recipe sort by time.
    """
    now = datetime.datetime.now(datetime.UTC)
    return f"{now:%Y%m%d-%H%M%S}-{recipe}-{now.microsecond * 16**4 // 10**6:04x}"


def recipe_of(run_id: str) -> str:
    """The recipe in a run's id; the id itself where it is not one of `new_run_id`."""
    parts = run_id.split("-")
    return "-".join(parts[2:-1]) or run_id


def run_folder(store: Place, run_id: str) -> Place:
    """Where the record of a run lies."""
    return store / "runs" / run_id


def store_of(chain: Chain) -> Place:
    """The store that a chain's artifacts lie in."""
    return chain[0].artifact.root.parent.parent


def workers_folder(run: Place) -> Place:
    """Where the workers of the run whose record is in ``run`` say what they do."""
    return run / "workers"


def utc_now() -> str:
    """The time in UTC as ISO 8601 text, with milliseconds."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")


class Meters(Protocol):
    """Takes figures for a monitoring system (see `cluster.ray_metrics`)."""

    def shard(self, stage: str, receipt: Receipt, rejects: Mapping[str, int]) -> None:
        """A shard of ``stage`` was made; ``rejects``: its rejected videos by error class."""

    def waited(self, stage: str, what: str, seconds: float) -> None:
        """A worker of ``stage`` stood still for ``seconds``, waiting for ``what``."""

    def training(self, stage: str, figures: Mapping[str, float]) -> None:
        """A training has new figures."""


class WorkerFile:
    """The file that says what this process does for a run. One per process.

    Args:
        run: folder of the run's record.
    """

    def __init__(self, run: Place) -> None:
        self._path = workers_folder(run) / f"{socket.gethostname()}-{os.getpid()}.json"
        self._state: dict[str, Any] = {"host": socket.gethostname(), "pid": os.getpid()}
        self._lock = threading.Lock()
        self._changed, self._ended = threading.Event(), threading.Event()
        threading.Thread(target=self._keep_writing, name="worker-file", daemon=True).start()

    def set(self, **state: Any) -> None:
        """What holds from now on; None removes an entry."""
        with self._lock:
            kept = {**self._state, **state, "seen": time.time()}
            self._state = {name: value for name, value in kept.items() if value is not None}
        self._changed.set()

    def close(self) -> None:
        """Remove the file."""
        self._ended.set()
        with self._lock:
            try:
                self._path.unlink(missing_ok=True)
            except OSError as error:
                _log.warning("can't remove %s: %s", self._path, error)

    def _keep_writing(self) -> None:
        while not self._ended.is_set():
            if self._changed.wait(WRITE_S) and not self._ended.is_set():
                self._changed.clear()
                self._write()
                self._ended.wait(WRITE_S)

    def _write(self) -> None:
        with self._lock:
            if self._ended.is_set():
                return
            try:
                atomic.write_bytes(self._path, json.dumps(self._state).encode())
            except OSError as error:  # the shard itself will meet the same, and say so
                _log.warning("can't write %s: %s", self._path, error)


class Watch:
    """Follows one stage's executor through its shards.

    Args:
        run_id: the run.
        stage: kind of the stage.
        file: this process's; None writes none.
        meters: where figures go; None: nowhere.
    """

    def __init__(
        self, run_id: str, stage: str, file: WorkerFile | None = None, meters: Meters | None = None
    ) -> None:
        self._run_id, self._stage, self._file, self._meters = run_id, stage, file, meters
        self._idle_since: float | None = None
        self._videos = 0
        self._rejects: Counter[str] = Counter()

    def began(self, task: Task, videos: int) -> None:
        """``task``, of ``videos`` videos, is being made from now on."""
        if self._idle_since is not None:
            self.waited("task", time.monotonic() - self._idle_since)
            self._idle_since = None
        logs.about(run=self._run_id, stage=self._stage, shard=task.shard)
        self._videos, self._rejects = 0, Counter()
        self._tell(stage=self._stage, shard=task.shard, since=time.time(), count=videos, videos=0)
        _log.info("shard %s of %s begins: %d videos", task.shard, self._stage, videos)

    def saw(self, outcome: Outcome) -> None:
        """A video of the shard has its outcome."""
        self._videos += 1
        self._tell(videos=self._videos)
        if isinstance(outcome, Rejected):
            self._rejects[outcome.error_class] += 1
            _log.warning(
                "%s rejects %s: %s: %s",
                self._stage, outcome.video, outcome.error_class, outcome.message,
                extra={"video": outcome.video, "error_class": outcome.error_class},
            )  # fmt: skip

    def waited(self, what: str, seconds: float) -> None:
        """The worker stood still for ``seconds``, waiting for ``what`` (``decoder``, ``task``, ``lease``)."""
        if self._meters is not None and seconds > 0:
            self._meters.waited(self._stage, what, seconds)

    def ended(self, receipt: Receipt) -> None:
        """What became of the task that began last, or of one that others had made before."""
        for what, seconds in receipt.waited.items():
            self.waited(what, seconds)
        if receipt.error:
            _log.error("shard %s of %s ends the run: %s", receipt.shard, self._stage, receipt.error)
        elif receipt.made:
            if self._meters is not None:
                self._meters.shard(self._stage, receipt, self._rejects)
            figures = {name: getattr(receipt, name) for name in _FIGURES}
            text = "shard %s of %s is committed: %d done, %d skipped, %d rejected, %.1f s"
            counts = receipt.done, receipt.skipped, receipt.rejected, receipt.seconds
            _log.info(text, receipt.shard, self._stage, *counts, extra=figures)
        self._tell(shard=None, since=None, count=None, videos=None)
        logs.about(shard=None)
        self._idle_since = time.monotonic()

    def _tell(self, **state: Any) -> None:
        if self._file is not None:
            self._file.set(**state)


_FIGURES = ("done", "skipped", "rejected", "frames", "bytes", "seconds", "cpu")


@dataclass(frozen=True)
class TrainingWatch:
    """Follows a training; stands in for `stages.stage.WorkContext.report` in the processes that train.

    All of them may call it; only the first one tells anything.

    Attributes:
        run: folder of the run's record.
        stage: kind of the stage that trains.
        meters: where figures go beside; None: nowhere.
    """

    run: Place
    stage: str
    meters: Meters | None = field(default=None, compare=False)

    def __call__(self, figures: Mapping[str, float]) -> None:
        """New ``figures`` by name, ``step`` among them."""
        if not _first():
            return
        told = {name.replace(" ", "_"): value for name, value in figures.items()}
        following = _followed.get(self) or _followed.setdefault(self, _Following(self))
        following.file.set(stage=self.stage, training=told)
        if self.meters is not None:
            self.meters.training(self.stage, told)
        if time.monotonic() - following.logged >= TRAINING_LOG_S:
            following.logged = time.monotonic()
            _log.info("training %s is at step %g", self.stage, told.get("step", 0), extra=told)

    def close(self) -> None:
        """The training is over, so far as this process has taken part in it."""
        if (following := _followed.pop(self, None)) is not None:
            following.file.close()


class _Following:
    """What the process of a training keeps between two calls of its `TrainingWatch`."""

    def __init__(self, watch: TrainingWatch) -> None:
        self.file = WorkerFile(watch.run)
        self.logged = float("-inf")
        logs.about(run=watch.run.name, stage=watch.stage)


_followed: dict[TrainingWatch, _Following] = {}


def _first() -> bool:
    """Whether this is the first, or the only, process of a training."""
    import torch.distributed as dist

    return not dist.is_initialized() or dist.get_rank() == 0
