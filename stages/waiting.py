"""How long the thread that makes a shard stands still, and for what: figures of speed, never of results."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator

_of_thread = threading.local()


@contextlib.contextmanager
def waiting(what: str) -> Iterator[None]:
    """Count the time within as spent on waiting for ``what`` (``decoder``, ...), by this thread.

    Waits of other threads, such as those that read ahead, hold nothing up and are not counted with it.
    """
    began = time.perf_counter()
    try:
        yield
    finally:
        seconds = _seconds()
        seconds[what] = seconds.get(what, 0.0) + time.perf_counter() - began


def taken() -> dict[str, float]:
    """Seconds by what was waited for in this thread since the last call."""
    seconds = dict(_seconds())
    _seconds().clear()
    return seconds


def _seconds() -> dict[str, float]:
    found: dict[str, float] | None = getattr(_of_thread, "seconds", None)
    if found is None:
        found = _of_thread.seconds = {}
    return found
