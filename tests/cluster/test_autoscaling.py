"""A cluster that begins with nothing but its head, and Ray's own autoscaler, which starts nodes here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.cluster.head import free_ports
from tests.cluster.nodes import started_nodes
from tests.outside import PROJECT

CLUSTER = {
    "cluster_name": "fake",
    "max_workers": 3,
    "upscaling_speed": 1.0,
    "idle_timeout_minutes": 5,
    "head_node_type": "ray.head.default",
    "available_node_types": {
        "ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
        "small": {"resources": {"CPU": 1}, "node_config": {}, "min_workers": 0, "max_workers": 3},
    },
    "auth": {},
    "docker": {},
    "file_mounts": {},
    "cluster_synced_files": [],
    "file_mounts_sync_continuously": False,
    "rsync_exclude": [],
    "rsync_filter": [],
    **{f"{name}_commands": [] for name in ("initialization", "setup", "head_setup", "worker_setup")},
    **{f"{name}_start_ray_commands": [] for name in ("head", "worker")},
}
DRIVER = """
import sys
from pathlib import Path
from cluster.on_ray import RayRunner
from cluster.resources import ResourcesError
from tests.cluster.test_local import tasks
from tests.cluster.toy import make_chain
for patience in (0.0, 120.0):
    runner = RayRunner(2, address=sys.argv[2], tell=lambda text: print(text, flush=True), patience=patience)
    try:
        for receipt in runner.run(make_chain(Path(sys.argv[1]), "ab"), tasks("x", "y"), "run"):
            print("made", receipt.level, receipt.shard, receipt.error, flush=True)
    except ResourcesError as error:
        print("refused:", error, flush=True)
"""


def test_a_run_asks_for_nodes_and_waits_for_them(tmp_path: Path) -> None:
    """Without patience it is refused: Ray would start nodes only for actors that wait, and none do."""
    (port,) = free_ports(1)
    provider = {"type": "fake_multinode", "gcs_address": f"127.0.0.1:{port}", "disable_node_updaters": True}
    (tmp_path / "cluster.json").write_text(json.dumps({**CLUSTER, "provider": provider}))
    (tmp_path / "work").mkdir()
    head = (f"--autoscaling-config={tmp_path / 'cluster.json'}",)
    with started_nodes(head=head, port=port, RAY_FAKE_CLUSTER="1", AUTOSCALER_UPDATE_INTERVAL_S="1") as nodes:
        done = subprocess.run(
            [sys.executable, "-c", DRIVER, str(tmp_path / "work"), nodes.address],
            cwd=PROJECT, env=nodes.env, capture_output=True, text=True, timeout=240, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    refused, *told = done.stdout.splitlines()
    assert refused.startswith("refused: 4 shard owners"), done.stdout
    assert any(line.startswith("waiting for nodes: 2 workers with a CPU each") for line in told), done.stdout
    made = [line for line in told if line.startswith("made")]
    assert len(made) == 4, done.stdout
