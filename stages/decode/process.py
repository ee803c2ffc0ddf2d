"""A decoder child as its parent sees it: started, watched, ended."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

from stages.decode.protocol import ClosedError, Link
from stages.outcome import ErrorClass
from stages.stage import Limits

POLL_S = 0.1
"""How often the child's memory is looked at."""
START_S = 120.0
"""Longest wait, in seconds, for a new child to say that it is ready."""

_ROOT = Path(__file__).resolve().parents[2]


class ChildFailedError(Exception):
    """The child hung, grew or died, and has been ended."""

    def __init__(self, error_class: ErrorClass, what: str) -> None:
        super().__init__(what)
        self.error_class: ErrorClass = error_class


class AbandonedError(Exception):
    """Nobody waits for the child's answer any more."""


class Child(Link):
    """A running decoder child.

    Raises:
        RuntimeError: if it can't be started at all, which is no video's fault.
    """

    def __init__(self, limits: Limits) -> None:
        ours, theirs = socket.socketpair()
        super().__init__(ours)
        self._limits = limits
        self._poll = select.poll()
        self._poll.register(ours, select.POLLIN)
        self._deadline = 0.0
        self._killed_for: tuple[ErrorClass, str] | None = None
        self._cpu = self._told = 0.0
        self.videos = 0
        self.stop: threading.Event | None = None
        life, self._life = os.pipe()
        arguments = theirs.fileno(), life, limits.memory_mb
        with tempfile.TemporaryFile() as complaints:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "stages.decode.child", *map(str, arguments)],
                pass_fds=(theirs.fileno(), life),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=complaints,
                env=_environment(),
            )
            theirs.close()
            os.close(life)
            self._seen = psutil.Process(self._process.pid)
            self._await_ready(complaints)

    def _await_ready(self, complaints: Any) -> None:
        try:
            self.answer(START_S)
        except ChildFailedError as failure:
            complaints.seek(0)
            said = complaints.read().decode(errors="replace").strip()[-2000:]
            raise RuntimeError(f"the decoder child can't be started: {failure}\n{said}") from failure

    def answer(self, patience: float | None = None) -> tuple[Any, NDArray[np.uint8]]:
        """The child's next message, other than that work goes on.

        Every such sign of life starts the wait anew; time during which the caller doesn't ask is not counted.

        Raises:
            ChildFailedError: if it doesn't come in time, or the child grows or dies.
        """
        patience = self._limits.timeout_s if patience is None else patience
        while True:
            self._deadline = time.monotonic() + patience
            try:
                header, payload = self.receive()
            except ClosedError:
                raise self._failure() from None
            if header[0] == "failed":
                raise self._reported(*header[1:])
            if header[0] != "tick":
                return header, payload

    def request(self, *order: Any) -> None:
        """Give the child an order. If the child is gone, `answer` says why."""
        try:
            self.send(order)
        except ClosedError:
            return

    def wait(self) -> None:
        """See `Link.wait`: returns once there is something to read, and ends a child that misbehaves."""
        while True:
            if self.stop is not None and self.stop.is_set():
                raise AbandonedError
            self.watch()
            if self._killed_for is not None:
                raise ClosedError
            if self._poll.poll(POLL_S * 1000):
                return
            if time.monotonic() > self._deadline:
                self._end("timeout", f"no sign of life within {self._limits.timeout_s:g} s")

    @property
    def ended(self) -> bool:
        """Whether the child has been ended for misbehaving."""
        return self._killed_for is not None

    def watch(self) -> None:
        """End the child if it has outgrown its memory; `answer` raises it then."""
        try:
            resident = self._seen.memory_info().rss
        except psutil.Error:
            return
        if resident > self._limits.memory_mb << 20:
            self._end("memory", self._too_much())

    def spent(self) -> float:
        """CPU seconds that the child has spent since this was last asked, those of its start included."""
        self._look_at_clock()
        new, self._told = self._cpu - self._told, self._cpu
        return new

    def _look_at_clock(self) -> None:
        if self._process.returncode is None:  # until it is collected the kernel knows
            with contextlib.suppress(psutil.Error):
                times = self._seen.cpu_times()
                self._cpu = times.user + times.system

    def _too_much(self) -> str:
        return f"decoding it takes more than {self._limits.memory_mb} MiB of memory"

    def _end(self, error_class: ErrorClass, what: str) -> None:
        self._killed_for = error_class, what
        self.close()

    def _reported(self, error_class: str, what: str) -> ChildFailedError:
        self.close()
        if error_class == "memory":
            return ChildFailedError("memory", self._too_much())
        return ChildFailedError("crash", f"the decoder raised {what}")

    def _failure(self) -> ChildFailedError:
        if self._killed_for is not None:
            return ChildFailedError(*self._killed_for)
        self._look_at_clock()
        try:
            code = self._process.wait(5)
        except subprocess.TimeoutExpired:
            code = None
        self.close()
        return ChildFailedError("crash", _how_it_ended(code))

    def close(self) -> None:
        """Kill the child, collect it, and close what connects to it. May be called again."""
        self._look_at_clock()
        if self._process.returncode is None:
            self._process.kill()
            self._process.wait()
        super().close()
        if self._life >= 0:
            os.close(self._life)
            self._life = -1


def _how_it_ended(code: int | None) -> str:
    if code is None:
        return "the decoder closed its connection"
    if code >= 0:
        return f"the decoder process ended with exit code {code}"
    return f"the decoder process was killed by {signal.Signals(-code).name}"


def _environment() -> dict[str, str]:
    """The parent's import path, whatever its working directory, and one thread per library."""
    paths = [str(_ROOT)] + [str(Path(p).absolute()) for p in sys.path]
    one = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    # glibc would give every chunk of frames back to the system and fetch it anew
    kept = {"MALLOC_TRIM_THRESHOLD_": str(128 << 20), "MALLOC_MMAP_THRESHOLD_": str(32 << 20)}
    return {**kept, **os.environ, **one, "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths))}
