"""Whose CPU seconds are a worker's, each counted once."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

from cluster.cpu_time import cpu_seconds, spent_elsewhere

BUSY = "import time\nwhile time.process_time() < 0.3: pass\nprint(flush=True)\ninput()"


def test_children_count_once_before_and_after_their_end() -> None:
    before = cpu_seconds()
    with subprocess.Popen(
        [sys.executable, "-c", BUSY], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        living = cpu_seconds() - before
        child.communicate(b"\n")
    ended = cpu_seconds() - before
    assert 0.29 <= living <= ended < 0.55


def test_what_was_spent_elsewhere_is_added_by_any_thread() -> None:
    before = cpu_seconds()
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(spent_elsewhere, [0.5] * 1000))
    assert 500.0 <= cpu_seconds() - before < 510.0
