"""CPU seconds of a worker: of its process, its decoder children, and its decoders on other nodes."""

from __future__ import annotations

import contextlib
import os
import resource
import threading
import time
from pathlib import Path

import psutil

_lock = threading.Lock()
_elsewhere = 0.0


def spent_elsewhere(seconds: float) -> None:
    """Count CPU seconds that another node has spent for this process. Any thread may call it."""
    global _elsewhere
    with _lock:
        _elsewhere += seconds


def cpu_seconds() -> float:
    """CPU seconds of this process, of its children, the ended ones included, and what was spent elsewhere."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    total = time.process_time() + ended.ru_utime + ended.ru_stime + _elsewhere
    for child in _children():
        with contextlib.suppress(psutil.Error):  # it ends just now
            times = child.cpu_times()
            total += times.user + times.system
    return total


def _children() -> list[psutil.Process]:
    """Children that this thread or the main one has started, which decoders are, from the kernel's own list
    where it keeps one: psutil looks at every process of the machine, which takes longer than a small shard.
    """
    threads = {os.getpid(), threading.get_native_id()}
    try:
        lists = [Path(f"/proc/self/task/{thread}/children").read_text() for thread in threads]
    except OSError:  # not Linux, or a kernel built without it
        return psutil.Process().children()
    children = []
    for pid in " ".join(lists).split():
        with contextlib.suppress(psutil.Error):  # it ends just now
            children.append(psutil.Process(int(pid)))
    return children
