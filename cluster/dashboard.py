"""What a cluster has, asked over its dashboard's HTTP: plans load no ray.

Ray 2.60 tells its version at ``/api/version``, its nodes with their resources and labels at
``/api/v0/nodes``, and what is in use at ``/api/cluster_status``. ``/api/authentication_mode`` says without a
token whether it wants one, and then every other path takes ``Authorization: Bearer TOKEN``.
"""

from __future__ import annotations

import json
import os
import platform
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http.client import HTTPException
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil

from cluster.placement import Node
from cluster.resources import ResourcesError
from stages.errors import SettingsError

PORT = 8265
"""Where a dashboard listens unless it is told otherwise."""
TIMEOUT_S = 15.0
MOST_NODES = 10_000
"""The most that the dashboard lists; by itself it stops at 100."""
_BUILT_IN = ("CPU", "GPU", "memory", "object_store_memory")
_ACCELERATOR = "accelerator_type:"


@dataclass(frozen=True)
class ListedNode(Node):
    """A living node as the dashboard lists it; memory and object store in bytes.

    Attributes:
        head: whether it is the head.
        labels: its labels, without the node's id.
    """

    head: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def gpus(self) -> float:
        """Its GPUs."""
        return self.total.get("GPU", 0.0)

    @property
    def gpu_kinds(self) -> tuple[str, ...]:
        """Names of its GPUs as Ray calls them (``H200``)."""
        kinds = {name.removeprefix(_ACCELERATOR) for name in self.total if name.startswith(_ACCELERATOR)}
        return tuple(sorted(kinds | {self.labels.get("ray.io/accelerator-type", "")} - {""}))

    @property
    def custom(self) -> dict[str, float]:
        """Its resources that Ray has not made itself."""
        made = ("node:", _ACCELERATOR)
        return {k: v for k, v in self.total.items() if k not in _BUILT_IN and not k.startswith(made)}

    def used(self, resource: str) -> float:
        """How much of a resource is held just now, as far as known."""
        if self.free is None:
            return 0.0
        return self.total.get(resource, 0.0) - self.free.get(resource, 0.0)


@dataclass(frozen=True)
class Cluster:
    """A cluster as its dashboard describes it.

    Attributes:
        found: how its dashboard was found, in words; "" where the address says it.
    """

    url: str
    ray: str
    nodes: tuple[ListedNode, ...]
    found: str = ""

    @property
    def cpus(self) -> int:
        """Whole CPUs of all nodes."""
        return sum(node.cpus for node in self.nodes)

    @property
    def gpus(self) -> float:
        """GPUs of all nodes."""
        return sum(node.gpus for node in self.nodes)


def ask(address: str) -> Cluster:
    """The cluster at ``address``: ``auto``, the dashboard's URL, or the control store's ``host:port``.

    Raises:
        SettingsError: the address is none of these, what answers is no dashboard, it wants another token, or
            it is of another version of Ray or Python than this environment.
        ResourcesError: nothing answers, or it has no nodes.
    """
    url, found = find(address)
    client = _Client(url)
    version = client.get("/api/version")
    about = _result(client.get("/api/v0/cluster_metadata"))
    check_versions(url, str(version.get("ray_version", "?")), str(about.get("pythonVersion", "?")))
    listed = _result(client.get(f"/api/v0/nodes?detail=1&limit={MOST_NODES}")).get("result", [])
    used = _used(client.get("/api/cluster_status?format=0"))
    nodes = [_node(entry, used.get(entry["node_id"])) for entry in listed if entry["state"] == "ALIVE"]
    if not nodes:
        raise ResourcesError(f"{url}: no node of this cluster is alive (yet): try again in half a minute")
    nodes.sort(key=lambda node: (not node.head, node.name))
    return Cluster(url, str(version["ray_version"]), tuple(nodes), found)


def check_versions(url: str, ray: str, python: str) -> None:
    """Refuse a cluster that a run from this environment could not join.

    Args:
        ray, python: the cluster's versions.

    Raises:
        SettingsError: naming both.
    """
    try:
        mine = metadata.version("ray")
    except metadata.PackageNotFoundError:
        return  # no run can start here; the plan is for one that starts elsewhere
    here = platform.python_version()
    if ray != mine or python.split(".")[:2] != here.split(".")[:2]:
        raise SettingsError(
            f"{url} runs Ray {ray} on Python {python}, this environment has Ray {mine} on Python {here}, "
            "and Ray joins only equals: install the cluster's versions here, or these there"
        )


def find(address: str) -> tuple[str, str]:
    """The URL of the dashboard that ``address`` means, and how that was found out, in words.

    Raises:
        SettingsError: the address can't be understood, or is ``auto`` and there is no cluster, or several.
    """
    if address == "auto":
        for variable in ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS"):
            if (value := os.environ.get(variable, "")) not in ("", "auto"):
                url, found = find(value)
                return url, f"${variable}" + (f", {found}" if found else "")
        return _local()
    if address.startswith("ray://"):
        host = urlsplit(address).hostname or "HOST"
        raise SettingsError(
            f"--address {address} is of Ray Client, which has no dashboard: give http://{host}:{PORT}"
        )
    if address.startswith(("http://", "https://")):
        parts = urlsplit(address)
        return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}", ""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise SettingsError(
            f"--address {address}: give auto, HOST:PORT of the cluster, or its dashboard http://HOST:{PORT}"
        )
    for control, url in dashboards():
        if control == address or _same_port_here(control, host, port):
            return url, "its process here"
    return f"http://{host}:{PORT}", f"taken to be on the usual port {PORT} of {host}"


def _local() -> tuple[str, str]:
    """The cluster that was started last on this machine, or the only one there is."""
    here = dashboards()
    current = Path(os.environ.get("RAY_TMPDIR", "/tmp"), "ray", "ray_current_cluster")
    try:
        address = current.read_text().strip()
    except OSError:
        address = ""
    for control, url in here:
        if control == address:
            return url, "the cluster started last on this machine"
    urls = sorted(url for _, url in here)
    if len(urls) == 1:
        return urls[0], "the cluster on this machine"
    if urls:
        raise SettingsError(f"--address auto: several clusters run here, name one: {', '.join(urls)}")
    if address:  # this is a worker node: the head is elsewhere
        url, found = find(address)
        return url, f"{address} is this machine's cluster, and its dashboard {found}"
    raise SettingsError(
        f"--address auto: no cluster runs on this machine and $RAY_ADDRESS is not set; give http://HOST:{PORT}"
    )


def dashboards() -> list[tuple[str, str]]:
    """``(control store's address, dashboard's URL)`` of the clusters whose head is this machine."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        line = process.info["cmdline"] or []
        if any(part.endswith("/dashboard/dashboard.py") for part in line):
            options = dict(part[2:].split("=", 1) for part in line if part.startswith("--") and "=" in part)
            host = options.get("host", "127.0.0.1")
            host = "127.0.0.1" if host in ("0.0.0.0", "localhost") else host
            asked, retries = int(options.get("port", PORT)), int(options.get("port-retries", 0))
            if (port := _listening(process, range(asked, asked + retries + 1))) is not None:
                found.append((options.get("gcs-address", ""), f"http://{host}:{port}"))
    return found


def _listening(process: psutil.Process, ports: range) -> int | None:
    """The port that a dashboard listens on: the first of ``ports``, or the next that was free when it came.

    None for the process of a Ray without a dashboard, which has that name too and listens on none of them.
    """
    try:
        taken = {c.laddr.port for c in process.net_connections("tcp") if c.status == psutil.CONN_LISTEN}
    except psutil.Error:
        return ports[0]  # somebody else's process
    return next((port for port in ports if port in taken), None)


def _same_port_here(control: str, host: str, port: str) -> bool:
    """Whether ``host:port`` is another name of the control store at ``control`` on this machine."""
    return host in ("127.0.0.1", "localhost") and control.rpartition(":")[2] == port


class _Client:
    """Gets JSON from one dashboard."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._headers: dict[str, str] = {}
        mode = self.get("/api/authentication_mode", absent={}).get("authentication_mode", "disabled")
        if mode != "disabled":
            self._headers = {"Authorization": f"Bearer {token(url)}"}

    def get(self, path: str, absent: dict[str, Any] | None = None) -> dict[str, Any]:
        """The JSON object at ``path``; ``absent`` where there is no such path."""
        request = urllib.request.Request(self._url + path, headers=self._headers)
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
                content = json.load(answer)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == 404 and absent is not None:
                return absent
            raise self._refused(path, error.code) from None
        except (OSError, HTTPException) as error:
            reason = getattr(error, "reason", error)
            raise ResourcesError(
                f"no dashboard answers at {self._url} ({reason}): is the cluster up, and is this its "
                "dashboard's address?"
            ) from None
        except ValueError:
            content = None
        if not isinstance(content, dict):
            raise SettingsError(f"what answers at {self._url}{path} is not Ray's dashboard")
        return content

    def _refused(self, path: str, code: int) -> SettingsError | ResourcesError:
        if code in (401, 403):
            return wrong_token(self._url)
        if code == 404:
            return SettingsError(
                f"{self._url} has no {path.partition('?')[0]}: it is not Ray's dashboard, or another Ray's"
            )
        return ResourcesError(f"{self._url}{path} answers with HTTP {code}: look at the dashboard's logs")


def token(url: str) -> str:
    """The token for ``url``, from where Ray itself takes it, in its order.

    Raises:
        SettingsError: there is none, or its file can't be read.
    """
    if value := os.environ.get("RAY_AUTH_TOKEN", "").strip():
        return value
    named = os.environ.get("RAY_AUTH_TOKEN_PATH", "")
    path = Path(named or "~/.ray/auth_token").expanduser()
    try:
        if value := path.read_text().strip():
            return value
    except OSError as error:
        if named:
            raise SettingsError(f"$RAY_AUTH_TOKEN_PATH={named} can't be read: {error.strerror}") from error
    raise SettingsError(
        f"{url} wants a token and there is none: set $RAY_AUTH_TOKEN, $RAY_AUTH_TOKEN_PATH or write it to "
        "~/.ray/auth_token"
    )


def wrong_token(where: str) -> SettingsError:
    """The error for a cluster that wants another token than the one `token` has found."""
    return SettingsError(
        f"{where} does not take this token: set $RAY_AUTH_TOKEN, $RAY_AUTH_TOKEN_PATH or ~/.ray/auth_token "
        "to the cluster's own"
    )


def _result(answer: Mapping[str, Any]) -> dict[str, Any]:
    """What lies inside of the dashboard's usual wrapping."""
    data = answer.get("data") or {}
    inner = data.get("result", data)
    return dict(inner) if isinstance(inner, Mapping) else {}


def _used(status: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """What is in use by node and resource; empty where the dashboard doesn't know yet."""
    cluster = (status.get("data") or {}).get("clusterStatus")
    report = cluster.get("loadMetricsReport") if isinstance(cluster, Mapping) else None
    by_node: Mapping[str, Mapping[str, Sequence[float]]] = (report or {}).get("usageByNode") or {}
    return {node: {name: float(pair[0]) for name, pair in usage.items()} for node, usage in by_node.items()}


def _node(entry: Mapping[str, Any], used: Mapping[str, float] | None) -> ListedNode:
    total: dict[str, float] = entry.get("resources_total") or {}
    free = None if used is None else {kind: total[kind] - used.get(kind, 0.0) for kind in total}
    labels = {k: v for k, v in (entry.get("labels") or {}).items() if k != "ray.io/node-id"}
    name = str(entry.get("node_name") or entry["node_ip"])
    return ListedNode(entry["node_id"], name, total, free, bool(entry.get("is_head_node")), labels)
