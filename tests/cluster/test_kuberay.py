"""The KubeRay manifests against the schemas that KubeRay and Kubernetes publish, and against each other."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import yaml

from tests.cluster.published import complaints, kuberay_schema, options_of, ray_command
from tests.cluster.test_image import IMAGE, LOCKED_RAY
from tests.outside import PROJECT

FOLDER = PROJECT / "cluster" / "kuberay"
GI = 2**30


def load(name: str) -> dict[str, Any]:
    return yaml.safe_load((FOLDER / name).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def job() -> dict[str, Any]:
    return load("rayjob.yaml")


@pytest.fixture(scope="module")
def cluster(job: dict[str, Any]) -> dict[str, Any]:
    return job["spec"]["rayClusterSpec"]


def groups(cluster: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Head and worker groups by name."""
    return {"head": cluster["headGroupSpec"], **{g["groupName"]: g for g in cluster["workerGroupSpecs"]}}


def quantity(text: str) -> int:
    number, unit = re.fullmatch(r"(\d+)(Gi)?", text).groups()
    return int(number) * (GI if unit else 1)


@pytest.mark.parametrize("name", ["rayjob.yaml", "raycluster.yaml"])
def test_it_follows_the_published_schema(name: str) -> None:
    assert complaints(load(name)) == []


@pytest.mark.parametrize(
    "where, value",
    [
        ("spec.backoffLimits", 2),
        ("spec.backoffLimit", "2"),
        ("spec.submissionMode", "K8sMode"),
        ("spec.preRunningDeadlineSeconds", 0),
        ("spec.rayClusterSpec.authOptions.mode", "tokens"),
        ("spec.rayClusterSpec.headGroupSpec.rayStartParams.num-cpus", 0),
        ("spec.rayClusterSpec.workerGroupSpecs.0.maxReplica", 8),
        ("spec.rayClusterSpec.workerGroupSpecs.0.template.spec.volume", []),
        ("spec.rayClusterSpec.workerGroupSpecs.1.template.spec.containers.0.readinessProbe.httpGet.prt", 1),
        ("spec.rayClusterSpec.workerGroupSpecs.0.template.spec.volumes.0.emptyDir.sizelimit", "1Gi"),
    ],
)
def test_a_wrong_field_is_found(job: dict[str, Any], where: str, value: object) -> None:
    """At every depth: in KubeRay's own tables, in its enumerations, and in the pods of Kubernetes."""
    broken: Any = json.loads(json.dumps(job))  # what YAML shares between groups stands alone here
    place = broken
    *path, last = [int(part) if part.isdigit() else part for part in where.split(".")]
    for part in path:
        place = place[part]
    place[last] = value
    assert len(complaints(broken)) == 1
    assert str(last) in complaints(broken)[0]


def test_the_tables_were_understood() -> None:
    """Fields that the manifests don't use are known too: nothing was lost between page and schema."""
    known = kuberay_schema("RayJob")["$defs"]
    assert {"entrypoint", "runtimeEnvYAML", "jobId", "suspend"} <= set(known["RayJobSpec"]["properties"])
    assert known["AuthMode"]["enum"] == ["disabled", "token"]
    assert known["WorkerGroupSpec"]["properties"]["template"] == {
        "$ref": "#/$defs/io.k8s.api.core.v1.PodTemplateSpec"
    }
    for name, schema in known.items():
        assert name.startswith("io.k8s.") or schema.get("properties") or schema.get("enum"), name


def test_both_manifests_ask_for_the_same_cluster(cluster: dict[str, Any]) -> None:
    assert load("raycluster.yaml")["spec"] == cluster


def test_versions_are_those_of_the_lock(cluster: dict[str, Any]) -> None:
    assert cluster["rayVersion"] == LOCKED_RAY
    images = {g["template"]["spec"]["containers"][0]["image"] for g in groups(cluster).values()}
    assert images == {IMAGE}


def test_a_try_that_fails_is_made_again_and_cleaned_up(job: dict[str, Any]) -> None:
    """Retries are safe since a run resumes; a finished job gives its nodes back."""
    spec = job["spec"]
    assert spec["submissionMode"] == "K8sJobMode" and spec["backoffLimit"] == 2
    assert spec["shutdownAfterJobFinishes"] is True and spec["ttlSecondsAfterFinished"] > 0
    assert 0 < spec["preRunningDeadlineSeconds"] < spec["activeDeadlineSeconds"]
    assert "clusterSelector" not in spec, "the operator refuses retries on a cluster of somebody else"


def test_the_groups(cluster: dict[str, Any]) -> None:
    assert cluster["enableInTreeAutoscaling"] is True
    assert cluster["authOptions"] == {"mode": "token"}
    found = groups(cluster)
    assert set(found) == {"head", "gpu", "decode"}
    assert found["head"]["rayStartParams"]["num-cpus"] == "0"
    gpus = {name: limits(group).get("nvidia.com/gpu") for name, group in found.items()}
    assert gpus == {"head": None, "gpu": "1", "decode": None}
    assert int(found["decode"]["resources"]["decode"]) > 0
    for name in ("gpu", "decode"):
        assert found[name]["minReplicas"] <= found[name]["replicas"] <= found[name]["maxReplicas"]
    for group in found.values():  # the operator takes resources in one place or the other
        assert not (
            group.get("resources") and {"num-cpus", "num-gpus", "resources"} & set(group["rayStartParams"])
        )
        assert "readinessProbe" in group["template"]["spec"]["containers"][0]


def limits(group: dict[str, Any]) -> dict[str, str]:
    return group["template"]["spec"]["containers"][0]["resources"]["limits"]


def test_memory_and_spilling(cluster: dict[str, Any]) -> None:
    """/dev/shm holds the object store, counts as the pod's memory, and what doesn't fit has a disk."""
    for name, group in groups(cluster).items():
        params, pod = group["rayStartParams"], group["template"]["spec"]
        assert {f"--{key}" for key in params} <= options_of(ray_command("start")), name
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        mounts = {mount["mountPath"]: mount["name"] for mount in pod["containers"][0]["volumeMounts"]}
        shm = volumes[mounts["/dev/shm"]]["emptyDir"]
        assert shm["medium"] == "Memory"
        assert int(params["object-store-memory"]) <= quantity(shm["sizeLimit"]), name
        assert quantity(shm["sizeLimit"]) * 2 <= quantity(limits(group)["memory"]), name
        assert "emptyDir" in volumes[mounts[params["object-spilling-directory"]]], name


def test_nothing_secret(cluster: dict[str, Any]) -> None:
    """Credentials come from a service account or from a Secret that is named and may be absent."""
    for group in groups(cluster).values():
        pod = group["template"]["spec"]
        assert pod["serviceAccountName"] and pod["securityContext"]["runAsNonRoot"] is True
        container = pod["containers"][0]
        assert all(
            "KEY" not in entry["name"] and "valueFrom" not in entry for entry in container.get("env", ())
        )
        assert [list(source) for source in container["envFrom"]] == [["secretRef"]]
        assert container["envFrom"][0]["secretRef"]["optional"] is True


def test_runs_wait_for_the_nodes_they_ask_for(cluster: dict[str, Any]) -> None:
    """At its start such a cluster has none: without this every run would be refused."""
    container = cluster["headGroupSpec"]["template"]["spec"]["containers"][0]
    (entry,) = container["env"]
    assert entry["name"] == "TUBEFLOW_NODES_S" and float(entry["value"]) > 0
    assert cluster["enableInTreeAutoscaling"] is True


def test_the_entrypoint_is_a_run_of_the_image(job: dict[str, Any]) -> None:
    words = job["spec"]["entrypoint"].split()
    assert words[0] == "python" and words[1].startswith("/opt/tubeflow/")
    assert (PROJECT / words[1].removeprefix("/opt/tubeflow/")).is_file()
    assert (PROJECT / "configs" / "recipes" / f"{words[2]}.yaml").is_file()
    settings = dict(word.split("=", 1) for word in words if "=" in word)
    mounts = {"/data"}
    assert {value.rsplit("/", 1)[0] for value in settings.values() if value.startswith("/")} == mounts
