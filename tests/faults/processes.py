"""Runs in the background: watched by what they leave in the store, killed at chosen moments."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

import psutil

from tests.cli import RUN, environment

PATIENCE_S = 240.0
"""How long is waited for what is bound to come: only a test that fails takes so long."""


def wait_until(
    condition: Callable[[], object], what: str, timeout: float = PATIENCE_S, every: float = 0.005
) -> None:
    """Wait for ``condition``; fails after ``timeout`` seconds, saying ``what`` was waited for."""
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, f"no {what} within {timeout:g} s"
        time.sleep(every)


class Run:
    """A command line running in a session of its own."""

    def __init__(self, process: subprocess.Popen[bytes], output: tempfile._TemporaryFileWrapper[bytes]):
        self.process = process
        self._output = output

    @property
    def output(self) -> str:
        """Standard output and error so far."""
        return Path(self._output.name).read_text(errors="replace")

    @property
    def ended(self) -> bool:
        return self.process.poll() is not None

    def until(self, condition: Callable[[], object], what: str, timeout: float = PATIENCE_S) -> None:
        """Wait for ``condition`` while the run lives; fails if it ends without, or takes too long."""

        def met() -> bool:
            ended = self.ended  # first, for what it did last counts
            found = bool(condition())
            assert found or not ended, f"the run has ended without {what}\n{self.output}"
            return found

        wait_until(met, what, timeout)

    def await_end(self, ours: Collection[int] | None = None) -> None:
        """Wait until nothing of its session lives, or none of the processes ``ours``."""

        def left() -> set[int]:
            found = {process.pid for process in session_members(self.process.pid)}
            return found if ours is None else found & set(ours)

        wait_until(lambda: not left(), "end of what the run has started", every=0.1)

    def children(self) -> list[psutil.Process]:
        """All living descendants."""
        try:
            return psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def commands(self) -> dict[int, str]:
        """The command lines of all living descendants, by process id."""
        found = {}
        for process in self.children():
            with contextlib.suppress(psutil.Error):
                found[process.pid] = " ".join(process.cmdline())
        return found

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """The driver and its descendants stand still: alive, and renewing no lease."""
        family = [psutil.Process(self.process.pid), *self.children()]
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.suspend()
        yield
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()

    def kill_tree(self) -> None:
        """SIGKILL for the driver and all its descendants at once, as when a machine goes down."""
        family = self.children()
        self.process.kill()
        self.process.wait()
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        wait_until(lambda: not any(map(_lives, family)), "end of what was killed")

    def wait(self, code: int, timeout: float = PATIENCE_S) -> str:
        """Its output, once it has ended with ``code``."""
        found = self.process.wait(timeout)
        assert found == code, f"exit {found} instead of {code}\n{self.output}"
        return self.output


@contextlib.contextmanager
def started(*args: object, **env: str) -> Iterator[Run]:
    """``pipelines/run.py`` with ``args`` in the background; nothing of it lives on afterwards."""
    with tempfile.NamedTemporaryFile() as output:
        process = subprocess.Popen(
            [*RUN, *map(str, args)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment(**env),
            start_new_session=True,
            preexec_fn=_take_interrupts,
        )
        run = Run(process, output)
        try:
            yield run
        finally:
            run.kill_tree()
            _end_session(process.pid)


def _take_interrupts() -> None:
    """Ctrl-C counts, also where a shell runs the tests in its background, for whose processes it doesn't."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _lives(process: psutil.Process) -> bool:
    """Whether it does more than wait for its parent, which may be nobody who collects it."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _end_session(session: int) -> None:
    """Kill whatever has lost its parent but still belongs to the run's session."""
    for process in session_members(session):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def session_members(session: int) -> list[psutil.Process]:
    """Living processes of a session, however their parents ended."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(ProcessLookupError, PermissionError, psutil.Error):
            if os.getsid(process.pid) == session and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def run_after(
    before: Callable[[], None] | None, *args: object, code: int, **env: str
) -> subprocess.CompletedProcess[str]:
    """As `tests.cli.run`, in a child that calls ``before`` ahead of everything else."""
    done = subprocess.run(
        [*RUN, *map(str, args)],
        capture_output=True,
        text=True,
        timeout=240,
        env=environment(**env),
        preexec_fn=before,
    )
    assert done.returncode == code, f"exit {done.returncode} instead of {code}\n{done.stdout}\n{done.stderr}"
    return done
