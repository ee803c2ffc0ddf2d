"""What happened in a run, one JSON object per line: ``<store>/runs/<run>/events.jsonl``.

Every line has ``seq`` (1, 2, 3, ...), ``time`` (UTC, ISO 8601) and ``event``; docs/watching.md lists the
events and their fields. On a folder each line is appended as it comes; object stores can't append, so there
the whole file is rewritten at each heartbeat. There is one line per shard and a few per training, and
rejected videos have lines up to a bound, so that the file stays small beside any corpus.
"""

from __future__ import annotations

import json
import logging
import threading
from pathlib import Path
from typing import Any

from cluster.chain import Receipt
from cluster.watching import utc_now
from stages.artifacts import atomic
from stages.artifacts.place import Place

NAME = "events.jsonl"
MAX_REJECTS = 10_000
"""Rejected videos of a run that get a line of their own; the artifacts' ``rejects/`` have all."""
_LONGEST = 500  # characters of a message

_log = logging.getLogger(__name__)


class Events:
    """The events of one run, written by its driver alone. May be used by several threads.

    Args:
        path: the file; its folder exists.
    """

    def __init__(self, path: Place) -> None:
        self._path = path
        self._appends = isinstance(path, Path)  # paths on object stores are none
        self._lines: list[bytes] = []  # not written yet; on an object store: all
        self._changed = False
        self._lock = threading.Lock()
        self._seq = self._rejects = 0

    def add(self, event: str, **fields: Any) -> None:
        """Note that ``event`` happened now. ``fields`` are JSON-able."""
        with self._lock:
            self._seq += 1
            content = {"seq": self._seq, "time": utc_now(), "event": event, **fields}
            self._lines.append(json.dumps(content, ensure_ascii=False, default=str).encode() + b"\n")
            self._changed = True
            if self._appends:
                self._append()

    def receipt(self, stage: str, receipt: Receipt) -> None:
        """Note what became of a shard, and the first of its rejected videos."""
        counts = {name: getattr(receipt, name) for name in ("done", "skipped", "rejected", "frames", "bytes")}
        if not receipt.made:
            self.add("shard_found", stage=stage, shard=receipt.shard, **counts)
            return
        for video, error_class, message in receipt.rejects:
            if self._rejects < MAX_REJECTS:
                self._rejects += 1
                told = {"error_class": error_class, "message": message[:_LONGEST]}
                self.add("video_rejected", stage=stage, shard=receipt.shard, video=video, **told)
        self.add(
            "shard_committed",
            stage=stage,
            shard=receipt.shard,
            **counts,
            seconds=round(receipt.seconds, 3),
            cpu=round(receipt.cpu, 3),
            waited={what: round(seconds, 3) for what, seconds in receipt.waited.items()},
            again=receipt.again,
            host=receipt.host,
            pid=receipt.pid,
        )

    def flush(self) -> None:
        """Write what is not written yet; called at each heartbeat. What fails is logged and tried again."""
        with self._lock:
            if self._appends:
                self._append()
            elif self._changed:
                try:
                    atomic.write_bytes(self._path, b"".join(self._lines))
                    self._changed = False
                except OSError as error:
                    _log.warning("no events for now: %s", error)

    def _append(self) -> None:
        if not self._lines:
            return
        try:
            with self._path.open("ab") as file:
                file.write(b"".join(self._lines))
        except OSError as error:
            _log.warning("no events for now: %s", error)
        else:
            self._lines.clear()


def read_events(run: Place) -> list[dict[str, Any]]:
    """The events of the run whose record is in the folder ``run``, in order; [] where there are none.

    A line that a killed driver left half-written is passed over.
    """
    try:
        lines = (run / NAME).read_bytes().splitlines()
    except FileNotFoundError:
        return []
    found = []
    for line in lines:
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found
