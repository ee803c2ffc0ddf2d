"""Where a run would be: what a plan says of a cluster with GPUs is the runner's own arrangement."""

from __future__ import annotations

from pathlib import Path

from cluster.dashboard import Cluster, ListedNode
from configs.compose import compose
from pipelines.graph import build
from pipelines.notes import cluster_notes
from pipelines.planning import Options, Plan, make_plan
from pipelines.sites import site_of
from tests.measured import Measured

GPUS = ListedNode("b", "gpu-1", {"CPU": 8, "GPU": 2, "memory": 2**35, "accelerator_type:H200": 1})
HEAD = ListedNode("a", "head", {"CPU": 0, "memory": 2**33}, head=True)
PLAIN = ListedNode("c", "cpu-1", {"CPU": 16, "memory": 2**35, "decode": 4}, {"CPU": 10}, labels={"zone": "x"})
CLUSTER = Cluster("http://head:8265", "2.60.0", (HEAD, GPUS, PLAIN))


def planned(measured: Measured, store: Path, *more: str) -> Plan:
    settings = [str(s) for s in measured.arguments[2:-2:2]]
    return make_plan(
        build(compose("solv_ytvis", assignments=[*settings, f"store={store}", *more])), Options()
    )


def test_workers_share_their_gpus_among_stages_with_models(measured: Measured, tmp_path: Path) -> None:
    plan = planned(measured, tmp_path, "run.gpus=0.5")
    site, refusal = site_of(plan, "ray", None, CLUSTER)
    assert refusal is None
    assert (site.workers, site.hardware, site.trains_on_gpus) == (4, ("H200",), True)
    assert site.gpus == {"features": 0.25, "tubes": 0.25}
    said = "\n".join(cluster_notes(CLUSTER, site, 0.5))
    assert "3 nodes: 0 CPUs 8.0 GiB, 8 CPUs 2 GPUs (H200) 32.0 GiB, 16 CPUs 32.0 GiB decode 4 zone=x" in said
    assert "in use now: 6 CPUs, 0 GPUs" in said
    assert "4 workers of 0.5 GPUs, of 24 CPUs and 2 GPUs there" in said


def test_what_finds_no_room_is_refused_as_a_run_would(measured: Measured, tmp_path: Path) -> None:
    _, refusal = site_of(planned(measured, tmp_path, "run.gpus=0.5"), "ray", 5, CLUSTER)
    assert "10 shard owners (features, tubes) need" in str(refusal) and "room for 8" in str(refusal)
    _, refusal = site_of(
        planned(measured, tmp_path, "run.gpus=1", "run.train_workers=3"), "ray", None, CLUSTER
    )
    assert "3 processes of the training need 1 GPU each" in str(refusal)
    waits = planned(measured, tmp_path, "run.gpus=0.5", "run.nodes_s=60")
    assert site_of(waits, "ray", 5, CLUSTER)[1] is None, "it asks an autoscaler for more"
    done = planned(measured, measured.store, "run.gpus=1", "run.train_workers=3")
    assert site_of(done, "ray", 9, CLUSTER)[1] is None, "nothing to do finds room everywhere"
