"""Making one shard: the same code in every worker of every runner."""

from __future__ import annotations

import hashlib
import os
import socket
import time
import traceback
from collections.abc import Sequence
from dataclasses import replace

from cluster.chain import TOLD_REJECTS, UPSTREAM_FAILED, Chain, Receipt, Task, items_of, tasks_below
from cluster.cpu_time import cpu_seconds
from cluster.resources import worked_on
from cluster.watching import Watch
from stages import waiting
from stages.artifacts import atomic, leases, manifest
from stages.artifacts.attempts import FileAttempts
from stages.artifacts.commit import RepairRefusedError, commit
from stages.artifacts.place import Place, opened
from stages.errors import SettingsError
from stages.outcome import Done, Outcome, Skipped
from stages.stage import Row, ShardWorker, ShardWriter

MAX_STARTS = 5
"""How many workers may die on one shard within a run before the run gives up."""


class ShardExecutor:
    """Makes the shards of one stage of a chain in this process; its stage is set up at the first shard.

    Args:
        watch: is told about all that happens; None: only log lines are written.
    """

    def __init__(self, chain: Chain, level: int, run_id: str, watch: Watch | None = None) -> None:
        self._watch = watch or Watch(run_id, chain[level].stage.kind)
        self._chain = chain
        self._bound = chain[level]
        self._run_id = run_id
        self._worker: ShardWorker | None = None
        self._setup = 0.0

    def __call__(self, task: Task) -> Receipt:
        """Make, commit and report one shard. Faults that must stop the run are reported, not raised."""
        receipt = self._attempt(task)
        self._watch.ended(receipt)
        return receipt

    def _attempt(self, task: Task) -> Receipt:
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
            text = f"{error!r} in shard {task.shard}\n{traceback.format_exc()}"
            return Receipt(task.level, task.shard, error=text, error_kind="bug")

    def close(self) -> None:
        """Stop what the stage's worker has started."""
        if self._worker is not None:
            self._worker.close()
            self._worker = None

    def _run(self, task: Task) -> Receipt:
        self._setup = 0.0
        if (found := found_receipt(self._chain, task)) is not None:
            return found
        lease = leases.take(self._bound.artifact.lease(task.shard), self._run_id)
        if isinstance(lease, leases.Holder):
            return Receipt(task.level, task.shard, again=task.replace, held=str(lease), task=task.dump())
        with lease:
            if (found := found_receipt(self._chain, task)) is not None:  # before this run got the lease
                return found
            if lease.starts > MAX_STARTS:
                raise SettingsError(
                    f"shard {task.shard} has killed its worker {MAX_STARTS} times (out of memory?): "
                    "lower backbone.batch or --workers and run again"
                )
            wall, cpu = time.monotonic(), cpu_seconds()
            try:
                footer = self._make(task)
            except Exception:
                # without its lease: another run has made the shard, and may have dropped its input
                if (theirs := _committed(self._chain, task)) is None:
                    raise
                footer = theirs
            receipt = _receipt(self._chain, task, footer, (time.monotonic() - wall, cpu_seconds() - cpu))
            return replace(receipt, setup=self._setup, hardware=worked_on())

    def _make(self, task: Task) -> manifest.Footer:
        artifact = self._bound.artifact
        items = items_of(self._chain, task)
        work = [item for item in items if UPSTREAM_FAILED not in item]
        self._watch.began(task, len(work))
        waiting.taken()  # nothing from before counts
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
        return footer

    def _process(self, work: Sequence[Row], writer: ShardWriter, attempts: FileAttempts) -> list[Outcome]:
        if not work:
            return []
        if self._worker is None:
            began = time.monotonic()
            self._worker = self._bound.stage.open(self._bound.context)
            self._setup = time.monotonic() - began
        outcomes = []
        for outcome in self._worker.process(work, writer, attempts):
            if isinstance(outcome, Done):
                writer.keep(outcome.video)
            else:
                writer.discard(outcome.video)
            outcomes.append(outcome)
            self._watch.saw(outcome)
        if len(outcomes) < len(work):
            raise RuntimeError(
                f"{self._bound.stage.kind} gave {len(outcomes)} outcomes for {len(work)} items"
            )
        return outcomes


def _estimate(estimate: object, work: Sequence[Row]) -> int | None:
    if not callable(estimate) or not work:
        return None
    return sum(int(estimate(item)[1]) for item in work) or None


def found_receipt(chain: Chain, task: Task) -> Receipt | None:
    """What a worker tells of a task whose shard is committed; None where that is still to be made, or to be
    made again.

    Raises:
        DamagedError: its manifest can't be read.
    """
    footer = _committed(chain, task)
    return None if footer is None else _receipt(chain, task, footer)


def _committed(chain: Chain, task: Task) -> manifest.Footer | None:
    if task.replace:
        return None
    try:
        return manifest.read_footer(chain[task.level].artifact.manifest(task.shard))
    except FileNotFoundError:
        return None


def _receipt(
    chain: Chain, task: Task, footer: manifest.Footer, spent: tuple[float, float] = (0.0, 0.0)
) -> Receipt:
    """``spent``: wall-clock and CPU seconds."""
    follow = tasks_below(chain, task.level, task.shard) if task.follow else []
    status = [o["status"] for o in footer.outcomes]
    made = spent[0] > 0
    rejected = [o for o in footer.outcomes if o["status"] == "rejected"] if made else []
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
        items=len(status) if task.items is None else len(task.items),
        again=task.replace,
        made=made,
        waited=waiting.taken(),
        rejects=[[o["video"], o["error_class"], o["message"]] for o in rejected[:TOLD_REJECTS]],
        host=socket.gethostname() if made else "",
        pid=os.getpid() if made else 0,
        next=[*follow, *task.then],
    )


def shard_digest(path: Place) -> str:
    """SHA-256 (hex) of a file, read in blocks."""
    with opened(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
