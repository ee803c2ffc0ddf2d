"""A one-node Ray cluster that a test starts as a child and ends by its process id."""

from __future__ import annotations

import contextlib
import os
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

import psutil

from tests.cli import environment
from tests.faults.processes import session_members

BIN = Path(sys.executable).parent
_PORTS = (
    "port", "dashboard-port", "dashboard-agent-listen-port", "dashboard-agent-grpc-port",
    "runtime-env-agent-port", "metrics-export-port", "node-manager-port", "object-manager-port",
    "ray-client-server-port",
)  # fmt: skip


@dataclass(frozen=True)
class Head:
    """A running cluster.

    Attributes:
        address: of its control store, for ``--address``.
        dashboard: URL of the job server.
        agent: URL of the node's own agent.
        env: environment of its clients: the project's interpreter first, a home with the cluster's token.
    """

    address: str
    dashboard: str
    agent: str
    env: dict[str, str]

    def submit(self, folder: Path, *command: object) -> subprocess.CompletedProcess[str]:
        """``ray job submit --working-dir folder -- command``, waited for."""
        arguments = ["job", "submit", "--address", self.dashboard, "--working-dir", folder, "--", *command]
        return subprocess.run(
            [str(BIN / "ray"), *map(str, arguments)],
            env=self.env,
            cwd=self.env["HOME"],
            capture_output=True,
            text=True,
            timeout=240,
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
             "--object-store-memory=100000000", *options],
            env=env, cwd=home, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
        try:
            dashboard = f"http://127.0.0.1:{ports['dashboard-port']}"
            _await(process, dashboard, Path(log.name))
            agent = f"http://127.0.0.1:{ports['dashboard-agent-listen-port']}"
            yield Head(f"127.0.0.1:{ports['port']}", dashboard, agent, env)
        finally:
            _end(process)


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on just now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _await(process: subprocess.Popen[bytes], dashboard: str, log: Path) -> None:
    """Wait for the job server, whichever way it answers: without a token it refuses."""
    end = time.monotonic() + 120
    while True:
        assert process.poll() is None and time.monotonic() < end, (
            f"the cluster doesn't start\n{log.read_text()}"
        )
        try:
            urllib.request.urlopen(f"{dashboard}/api/version", timeout=5)
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
