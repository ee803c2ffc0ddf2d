"""Making one shard: the same code in every worker of every runner."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import resource
import time
import traceback
from collections.abc import Sequence

import psutil

from cluster.chain import UPSTREAM_FAILED, Chain, Receipt, Task, items_of, tasks_below
from stages.artifacts import atomic, manifest
from stages.artifacts.attempts import FileAttempts
from stages.artifacts.commit import RepairRefusedError, commit
from stages.artifacts.place import Place, opened
from stages.errors import SettingsError
from stages.outcome import Done, Outcome, Skipped
from stages.stage import Row, ShardWorker, ShardWriter

MAX_STARTS = 5
"""How many workers may die on one shard within a run before the run gives up."""

_log = logging.getLogger(__name__)


class ShardExecutor:
    """Makes the shards of one stage of a chain in this process; its stage is set up at the first shard."""

    def __init__(self, chain: Chain, level: int, run_id: str) -> None:
        self._chain = chain
        self._bound = chain[level]
        self._run_id = run_id
        self._worker: ShardWorker | None = None

    def __call__(self, task: Task) -> Receipt:
        """Make, commit and report one shard. Faults that must stop the run are reported, not raised."""
        try:
            return self._run(task)
        except atomic.StoreError as error:
            return Receipt(task.level, task.shard, error=str(error), error_kind="store")
        except SettingsError as error:
            return Receipt(task.level, task.shard, error=str(error), error_kind="settings")
        except manifest.DamagedError as error:
            return Receipt(task.level, task.shard, error=str(error), error_kind="damage")
        except RepairRefusedError as error:
            return Receipt(task.level, task.shard, error=str(error), error_kind="repair")
        except Exception as error:  # noqa: BLE001 - reported with its traceback; the run stops with exit code 1
            _log.debug("shard %s failed", task.shard, exc_info=True)
            text = f"{error!r} in shard {task.shard}\n{traceback.format_exc()}"
            return Receipt(task.level, task.shard, error=text, error_kind="bug")

    def close(self) -> None:
        """Stop what the stage's worker has started."""
        if self._worker is not None:
            self._worker.close()
            self._worker = None

    def _run(self, task: Task) -> Receipt:
        artifact = self._bound.artifact
        if artifact.manifest(task.shard).exists() and not task.replace:
            footer, spent = manifest.read_footer(artifact.manifest(task.shard)), (0.0, 0.0)
        else:
            wall, cpu = time.monotonic(), _cpu_seconds()
            footer = self._make(task)
            spent = time.monotonic() - wall, _cpu_seconds() - cpu
        follow = tasks_below(self._chain, task.level, task.shard) if task.follow else []
        return _receipt(task, footer, spent, [*follow, *task.then])

    def _make(self, task: Task) -> manifest.Footer:
        artifact = self._bound.artifact
        items = items_of(self._chain, task)
        work = [item for item in items if UPSTREAM_FAILED not in item]
        starts = _Starts(artifact.attempts(task.shard).with_suffix(f".{self._run_id}"), task.shard)
        starts.count()
        temp = atomic.temp_path(artifact.shard(task.shard))
        with atomic.store_errors(artifact.shard(task.shard), _estimate(self._bound.stage.estimate, work)):
            writer = self._bound.stage.writer(temp, task.shard)
            try:
                attempts = FileAttempts(artifact.attempts(task.shard))
                outcomes = self._process(work, writer, attempts)
                written = writer.finish()
            except BaseException:
                writer.abort()
                raise
            outcomes += [Skipped(i["video"], i[UPSTREAM_FAILED]) for i in items if UPSTREAM_FAILED in i]
            footer = commit(artifact, task.shard, written, outcomes, task.upstream, task.replace)
        attempts.forget()
        starts.forget()
        return footer

    def _process(self, work: Sequence[Row], writer: ShardWriter, attempts: FileAttempts) -> list[Outcome]:
        if not work:
            return []
        if self._worker is None:
            self._worker = self._bound.stage.open(self._bound.context)
        outcomes = []
        for outcome in self._worker.process(work, writer, attempts):
            if isinstance(outcome, Done):
                writer.keep(outcome.video)
            else:
                writer.discard(outcome.video)
            outcomes.append(outcome)
        if len(outcomes) < len(work):
            raise RuntimeError(
                f"{self._bound.stage.kind} gave {len(outcomes)} outcomes for {len(work)} items"
            )
        return outcomes


class _Starts:
    """Counts how often a shard was begun in one run: one that kills its worker can't do so for ever."""

    def __init__(self, path: Place, shard: str) -> None:
        self._path = path
        self._shard = shard

    def count(self) -> None:
        starts = 1
        with contextlib.suppress(FileNotFoundError):
            starts += len(self._path.read_bytes())
        atomic.write_bytes(self._path, b"." * starts)
        if starts > MAX_STARTS:
            self.forget()
            raise SettingsError(
                f"shard {self._shard} has killed its worker {MAX_STARTS} times (out of memory?): "
                "lower backbone.batch or --workers and run again"
            )

    def forget(self) -> None:
        self._path.unlink(missing_ok=True)


def _estimate(estimate: object, work: Sequence[Row]) -> int | None:
    if not callable(estimate) or not work:
        return None
    return sum(int(estimate(item)[1]) for item in work) or None


def _cpu_seconds() -> float:
    """CPU seconds of this process and of its children so far, those that have ended included."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    total = time.process_time() + ended.ru_utime + ended.ru_stime
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.Error):  # it ends just now
            times = child.cpu_times()
            total += times.user + times.system
    return total


def _receipt(task: Task, footer: manifest.Footer, spent: tuple[float, float], follow: list[Task]) -> Receipt:
    """``spent``: wall-clock and CPU seconds."""
    status = [o["status"] for o in footer.outcomes]
    return Receipt(
        task.level,
        task.shard,
        done=status.count("done"),
        skipped=status.count("skipped"),
        rejected=status.count("rejected"),
        frames=sum(o.get("info", {}).get("frames") or 0 for o in footer.outcomes),
        bytes=footer.bytes,
        seconds=spent[0],
        cpu=max(spent[1], 0.0),
        again=task.replace,
        next=follow,
    )


def shard_digest(path: Place) -> str:
    """SHA-256 (hex) of a file, read in blocks."""
    with opened(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
