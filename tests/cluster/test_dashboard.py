"""What a plan learns of a cluster, asked of a real head's dashboard on loopback, with tokens."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib import metadata
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from cluster import dashboard
from cluster.resources import ResourcesError
from stages.errors import SettingsError
from tests import cli
from tests.cluster.head import Head, free_ports, started_head
from tests.faults.processes import PATIENCE_S
from tests.media import make_corpus

pytestmark = pytest.mark.usefixtures("no_other_cluster")


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    with started_head(cpus=3) as running:
        yield running


@pytest.fixture
def no_other_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def token(head: Head, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("RAY_AUTH_TOKEN", head.env["RAY_AUTH_TOKEN"])
    return head.env["RAY_AUTH_TOKEN"]


def asked(address: str) -> dashboard.Cluster:
    """`ask`, once the head has its node: it registers some seconds after the dashboard answers."""
    end = time.monotonic() + PATIENCE_S
    while True:
        try:
            return dashboard.ask(address)
        except ResourcesError as error:
            if "is alive (yet)" not in str(error) or time.monotonic() > end:
                raise
            time.sleep(0.5)


def test_a_cluster_says_what_it_has(head: Head, token: str) -> None:
    cluster = asked(head.dashboard)
    (node,) = cluster.nodes
    assert (cluster.url, cluster.ray, cluster.found) == (head.dashboard, metadata.version("ray"), "")
    assert (node.head, node.cpus, node.gpus, node.total["object_store_memory"]) == (True, 3, 0.0, 100e6)
    assert node.total["memory"] > 2**30 and node.custom == {} and node.gpu_kinds == ()
    assert node.used("CPU") == 0


def test_the_control_store_leads_to_the_dashboard(
    head: Head, token: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Neither port is Ray's usual one: the dashboard's process on this machine tells its own."""
    assert dashboard.find(head.address) == (head.dashboard, "its process here")
    (tmp_path / "ray").mkdir()
    (control,) = [address for address, url in dashboard.dashboards() if url == head.dashboard]
    (tmp_path / "ray" / "ray_current_cluster").write_text(control)  # as `ray start` does, below /tmp
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    assert dashboard.find("auto") == (head.dashboard, "the cluster started last on this machine")
    monkeypatch.setenv("RAY_ADDRESS", head.address)
    cluster = asked("auto")
    assert (cluster.url, cluster.found) == (head.dashboard, "$RAY_ADDRESS, its process here")
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", head.dashboard + "/")
    assert dashboard.find("auto") == (head.dashboard, "$RAY_API_SERVER_ADDRESS")


def test_a_token_from_a_file(head: Head, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(SettingsError, match="wants a token and there is none"):
        dashboard.ask(head.dashboard)
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text(head.env["RAY_AUTH_TOKEN"] + "\n")
    assert asked(head.dashboard).cpus == 3
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "none"))
    with pytest.raises(SettingsError, match="RAY_AUTH_TOKEN_PATH=.*none can't be read: No such file"):
        dashboard.ask(head.dashboard)
    monkeypatch.setenv("RAY_AUTH_TOKEN", "0" * 64)
    with pytest.raises(SettingsError, match="does not take this token") as refused:
        dashboard.ask(head.dashboard)
    assert "000" not in str(refused.value)


def test_what_is_no_cluster(head: Head, token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (port,) = free_ports(1)
    with pytest.raises(ResourcesError, match=rf"no dashboard answers at http://127.0.0.1:{port} \(.*refused"):
        dashboard.ask(f"http://127.0.0.1:{port}")
    with pytest.raises(SettingsError, match="Ray Client.*give http://head:8265"):
        dashboard.ask("ray://head:10001")
    with pytest.raises(SettingsError, match="give auto, HOST:PORT"):
        dashboard.ask("local")
    url, found = dashboard.find("10.1.2.3:6379")
    assert (url, found) == ("http://10.1.2.3:8265", "taken to be on the usual port 8265 of 10.1.2.3")
    with pytest.raises(SettingsError, match=r"runs Ray 2\.9\.0 .* Ray joins only equals"):
        dashboard.check_versions(head.dashboard, "2.9.0", "3.11.7")


def test_another_server_is_told_from_a_dashboard() -> None:
    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>welcome</html>")

        def log_message(self, *args: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Page)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        with pytest.raises(SettingsError, match="is not Ray's dashboard"):
            dashboard.ask(f"http://127.0.0.1:{server.server_port}")
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_plan_for_a_cluster(head: Head, token: str, tmp_path: Path) -> None:
    """It says nodes, workers and time, refuses what doesn't fit with exit 5, and still loads no ray."""
    asked(head.dashboard)
    make_corpus(tmp_path / "videos", 2, frames=4)
    command = [*cli.features(tmp_path / "videos", tmp_path / "store"), "--plan", "--address", head.dashboard]
    env = {"RAY_AUTH_TOKEN": token}
    said = subprocess.run(
        [sys.executable, "-X", "importtime", *cli.RUN[1:], *map(str, command), "--json"],
        capture_output=True, text=True, env=cli.environment(**env), check=True,
    )  # fmt: skip
    loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in said.stderr.splitlines()}
    assert "cluster" in loaded and not loaded & {"ray", "torch"}
    planned = json.loads(said.stdout)
    notes = "\n".join(planned["notes"])
    assert f"cluster: {head.dashboard}, Ray {metadata.version('ray')}, 1 node: 3 CPUs" in notes
    assert "runner: ray, 3 workers of 1 CPU, of 3 CPUs and 0 GPUs there" in notes
    assert planned["estimate"]["workers"] == 3
    refused = cli.run_json(*command, "--set", "run.gpus=0.5", code=5, **env)
    assert "shard owners (features) need" in refused["error"] and refused["exit_code"] == 5
