"""A one-node Ray cluster that a test starts as a child and ends by its process id."""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import secrets
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import psutil

from tests.cli import environment
from tests.faults.processes import PATIENCE_S, session_members

BIN = Path(sys.executable).parent
_PORTS = (
    "port", "dashboard-port", "dashboard-agent-listen-port", "dashboard-agent-grpc-port",
    "runtime-env-agent-port", "metrics-export-port", "node-manager-port", "object-manager-port",
    "ray-client-server-port",
)  # fmt: skip


ANY_WORKER_PORT = ("--min-worker-port=0", "--max-worker-port=0")
"""The system gives workers their ports: by default nodes on one machine would choose from the same ones."""


@dataclass(frozen=True)
class Head:
    """A running cluster.

    Attributes:
        address: of its control store, for ``--address``.
        dashboard: URL of the job server.
        agent: URL of the node's own agent.
        env: environment of its clients: the project's interpreter first, a home with the cluster's token.
        metrics: URL of the node's metrics, for Prometheus.
        folder: what the cluster writes (``--temp-dir``).
    """

    address: str
    dashboard: str
    agent: str
    env: dict[str, str]
    metrics: str = ""
    folder: Path = Path()

    def submit(self, folder: Path, *command: object) -> subprocess.CompletedProcess[str]:
        """``ray job submit --working-dir folder -- command``, waited for."""
        arguments = ["job", "submit", "--address", self.dashboard, "--working-dir", folder, "--", *command]
        return subprocess.run(
            [str(BIN / "ray"), *map(str, arguments)],
            env=self.env,
            cwd=self.env["HOME"],
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )


@contextlib.contextmanager
def started_head(cpus: int = 2) -> Iterator[Head]:
    """A cluster of this machine alone; everything it has started is gone afterwards."""
    with (
        tempfile.TemporaryDirectory(prefix="tf", ignore_cleanup_errors=True) as home,
        Path(home, "log").open("w") as log,
    ):
        ports = dict(zip(_PORTS, free_ports(len(_PORTS)), strict=True))
        path = os.pathsep.join([str(BIN), os.environ["PATH"]])
        token = secrets.token_hex(32)
        env = environment(HOME=home, PATH=path, RAY_AUTH_TOKEN=token, RAY_USAGE_STATS_ENABLED="0")
        options = [f"--{name}={port}" for name, port in ports.items()]
        process = subprocess.Popen(
            [str(BIN / "ray"), "start", "--head", "--block", f"--temp-dir={home}/r", f"--num-cpus={cpus}",
             "--object-store-memory=100000000", *ANY_WORKER_PORT, *options],
            env=env, cwd=home, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
        try:
            dashboard = f"http://127.0.0.1:{ports['dashboard-port']}"
            _await(process, dashboard, Path(log.name))
            agent = f"http://127.0.0.1:{ports['dashboard-agent-listen-port']}"
            metrics = f"http://127.0.0.1:{ports['metrics-export-port']}/metrics"
            address = f"127.0.0.1:{ports['port']}"
            yield Head(address, dashboard, agent, env, metrics, Path(home, "r"))
        finally:
            _end(process)


_PORTS_FROM, _PORTS_TO = 20000, 32000
"""Below those that systems give away by themselves, above those that Ray gives its workers."""
_kept: list[IO[bytes]] = []


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on, and that no other test process is given as long as this one lives."""
    folder = Path(tempfile.gettempdir(), f"tubeflow-test-ports-{os.getuid()}")
    folder.mkdir(exist_ok=True)
    found: list[int] = []
    for port in random.SystemRandom().sample(range(_PORTS_FROM, _PORTS_TO), k=_PORTS_TO - _PORTS_FROM):
        if len(found) == count:
            return found
        lock = (folder / str(port)).open("wb")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with socket.socket() as probe:
                probe.bind(("", port))
        except OSError:  # somebody has it
            lock.close()
        else:
            _kept.append(lock)
            found.append(port)
    raise RuntimeError(f"of the ports {_PORTS_FROM} to {_PORTS_TO}, {count} are not free")


def _await(process: subprocess.Popen[bytes], dashboard: str, log: Path) -> None:
    """Wait for the job server, whichever way it answers: without a token it refuses."""
    end = time.monotonic() + PATIENCE_S
    while True:
        assert process.poll() is None and time.monotonic() < end, (
            f"the cluster doesn't start\n{log.read_text()}"
        )
        try:
            urllib.request.urlopen(f"{dashboard}/api/version", timeout=30)
            return
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.2)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the session of ``ray start``: its children first, so that it collects them, then itself."""
    for member in session_members(process.pid):
        if member.pid != process.pid:
            with contextlib.suppress(psutil.NoSuchProcess):
                member.kill()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(2)
    process.kill()
    process.wait()
    for member in session_members(process.pid):
        with contextlib.suppress(psutil.NoSuchProcess):
            member.kill()
