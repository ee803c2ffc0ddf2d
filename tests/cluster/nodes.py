"""Several Ray nodes on this machine as real processes: added, killed hard and brought back in mid-run."""

from __future__ import annotations

import contextlib
import os
import secrets
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.cli import environment
from tests.cluster.head import ANY_WORKER_PORT, BIN, free_ports
from tests.faults.processes import PATIENCE_S, session_members, wait_until

_PORTS = (
    "dashboard-agent-listen-port", "dashboard-agent-grpc-port", "runtime-env-agent-port",
    "metrics-export-port", "node-manager-port", "object-manager-port",
)  # fmt: skip
_HEAD_PORTS = ("port", "dashboard-port", "ray-client-server-port")
_SOON = {
    "RAY_health_check_initial_delay_ms": "500",
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "4",
}
"""By default a lost node is declared dead after 15 seconds and more."""


@dataclass
class Node:
    """One node: the session of a ``ray start --block``.

    Attributes:
        options: how it was started, for bringing it back.
        log: what ``ray start`` has said.
        process: ``ray start`` itself.
    """

    options: tuple[str, ...]
    log: Path
    process: subprocess.Popen[bytes]

    @property
    def members(self) -> list[psutil.Process]:
        """Its living processes: raylet, agents, workers and what these have started."""
        return session_members(self.process.pid)

    def commands(self) -> dict[int, str]:
        """Their command lines by process id; a busy actor's holds its class and method."""
        found = {}
        for process in self.members:
            with contextlib.suppress(psutil.Error):
                found[process.pid] = " ".join(process.cmdline())
        return found

    @property
    def alive(self) -> bool:
        """Whether ``ray start`` still runs."""
        return self.process.poll() is None

    def kill(self) -> None:
        """SIGKILL for everything on it at once, as when a machine is lost. What it held is gone."""
        end = time.monotonic() + PATIENCE_S
        while members := self.members:  # again, for what was being started just now
            assert time.monotonic() < end, self.commands()
            for process in sorted(members, key=lambda p: p.pid):
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(0.1)
        self.process.wait()


@dataclass
class Nodes:
    """A head and worker nodes; use `started_nodes`.

    Attributes:
        address: of the control store, for ``--address``.
        dashboard: URL of the job server; it answers only where a dashboard was asked for.
        env: environment of clients: a home of their own, the cluster's token.
        head: the head node.
        workers: the worker nodes, in the order in which they were added; killed ones stay in their place.
    """

    address: str
    dashboard: str
    env: dict[str, str]
    head: Node
    folder: Path
    workers: list[Node] = field(default_factory=list)

    def add(
        self,
        cpus: float = 1,
        gpus: float = 0,
        resources: str = "",
        labels: str = "",
        wait: bool = True,
        more: Mapping[str, object] | None = None,
    ) -> Node:
        """Start one more node.

        Args:
            gpus: GPUs that it claims to have.
            resources: further ones as JSON, ``{"decode": 2}``.
            labels: ``key=value,...``.
            wait: until it has joined.
            more: further options of ``ray start`` by name.
        """
        options = {"num-cpus": cpus, "num-gpus": gpus, "resources": resources, "labels": labels}
        given = {name: value for name, value in {**options, **(more or {})}.items() if value != ""}
        node = self._start(tuple(f"--{name}={value}" for name, value in given.items()))
        self.workers.append(node)
        if wait:
            await_started(node)
        return node

    def bring_back(self, node: Node, wait: bool = True) -> Node:
        """A new node in the place of a killed one, with its options; Ray knows it by another id."""
        assert not node.alive
        new = self._start(node.options)
        self.workers[self.workers.index(node)] = new
        if wait:
            await_started(new)
        return new

    def end(self) -> None:
        """SIGKILL for every node."""
        for node in (*self.workers, self.head):
            node.kill()

    def _start(self, options: tuple[str, ...]) -> Node:
        started = [f"--address={self.address}", *_given_ports(_PORTS), *options]
        before = self._sockets()
        node = _start(self.folder, self.env, started, options)
        # Nodes take the first free names for their sockets: of two that choose at once, one never joins.
        wait_until(lambda: self._sockets() > before or not node.alive, "raylet", every=0.02)
        return node

    def _sockets(self) -> int:
        return len(list(self.folder.glob("r/session_latest/sockets/raylet*")))


@contextlib.contextmanager
def started_nodes(
    count: int = 0,
    cpus: float = 1,
    head_cpus: float = 0,
    dashboard: bool = False,
    folder: Path | None = None,
    head: tuple[str, ...] = (),
    port: int = 0,
    **env: str,
) -> Iterator[Nodes]:
    """A head with ``head_cpus`` and ``count`` nodes with ``cpus`` each; all of them are gone afterwards.

    Args:
        dashboard: with the job server and the pages, which take seconds and 300 MB more.
        folder: for Ray's files and the clients' home, with a short path; default: a temporary one.
        head: more options of the head's ``ray start``.
        port: of its control store; 0: any free one.
        env: of the nodes and of the clients.
    """
    with contextlib.ExitStack() as stack:
        if folder is None:
            temporary = tempfile.TemporaryDirectory(prefix="tf", ignore_cleanup_errors=True)
            folder = Path(stack.enter_context(temporary))
        path = os.pathsep.join([str(BIN), os.environ["PATH"]])
        token = secrets.token_hex(32)
        shared = {"PATH": path, "HOME": str(folder), "RAY_AUTH_TOKEN": token, "RAY_USAGE_STATS_ENABLED": "0"}
        clients = environment(**shared, **_SOON, **env)
        ports = dict(zip(_HEAD_PORTS, free_ports(len(_HEAD_PORTS)), strict=True))
        ports["port"] = port or ports["port"]
        options = [f"--{name}={number}" for name, number in ports.items()]
        options += ["--head", f"--temp-dir={folder}/r", f"--num-cpus={head_cpus}"]
        options += [f"--include-dashboard={str(dashboard).lower()}", *_given_ports(_PORTS), *head]
        first = _start(folder, clients, options, ())
        nodes = Nodes(
            f"127.0.0.1:{ports['port']}",
            f"http://127.0.0.1:{ports['dashboard-port']}",
            clients,
            first,
            folder,
        )
        stack.callback(nodes.end)
        await_started(first)
        for _ in range(count):
            nodes.add(cpus, wait=False)
        for node in nodes.workers:
            await_started(node)
        yield nodes


def await_started(node: Node) -> None:
    """Wait until ``ray start`` says that the node is there, which is when the control store knows it."""
    wait_until(
        lambda: "Ray runtime started" in node.log.read_text() or not node.alive,
        "node",
        every=0.05,
    )
    assert node.alive, node.log.read_text()


def _given_ports(names: tuple[str, ...]) -> list[str]:
    return [f"--{name}={port}" for name, port in zip(names, free_ports(len(names)), strict=True)]


def _start(folder: Path, env: dict[str, str], arguments: list[str], options: tuple[str, ...]) -> Node:
    with tempfile.NamedTemporaryFile(dir=folder, prefix="node-", delete=False) as log:
        process = subprocess.Popen(
            [BIN / "ray", "start", "--block", "--object-store-memory=80000000",
             *ANY_WORKER_PORT, *arguments],
            env=env, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
    return Node(options, Path(log.name), process)
