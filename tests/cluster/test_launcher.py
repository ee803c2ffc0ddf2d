"""The files of ``ray up`` against Ray's own schema and preparation, EC2's API, and Ray's command line."""

from __future__ import annotations

import copy
import json
import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from cluster.resources import cpus
from tests.cluster.published import options_of, ray_command
from tests.cluster.test_image import IMAGE
from tests.outside import PROJECT

CLOUDS = ("aws", "gcp")
ALL = (*CLOUDS, "on_prem")


def load(name: str) -> dict[str, Any]:
    return yaml.safe_load((PROJECT / "cluster" / f"{name}.yaml").read_text(encoding="utf-8"))


def prepared(config: dict[str, Any]) -> dict[str, Any]:
    """As ``ray up`` does before it talks to anyone: defaults filled in, then validated."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    full = prepare_config(copy.deepcopy(config))
    validate_config(full)
    return full


def starts(config: dict[str, Any]) -> dict[str, str]:
    """The one ``ray start`` of the head and of a worker."""
    found = {}
    for who in ("head", "worker"):
        [found[who]] = [c for c in config[f"{who}_start_ray_commands"] if "ray start" in c]
    return found


def option(command: str, name: str) -> str:
    return re.search(rf"--{name}[= ](\S+)", command)[1]


@pytest.mark.parametrize("name", ALL)
def test_ray_takes_it(name: str) -> None:
    full = prepared(load(name))
    assert full["head_node_type"] in full["available_node_types"]
    assert sum(t["max_workers"] for t in full["available_node_types"].values()) >= full["max_workers"] > 0


@pytest.mark.parametrize("name", ALL)
def test_a_misspelled_field_is_refused(name: str) -> None:
    config = load(name)
    config["idle_timeout_minute"] = config.pop("idle_timeout_minutes")
    with pytest.raises(jsonschema.ValidationError, match="idle_timeout_minute"):
        prepared(config)


@pytest.mark.parametrize("name", CLOUDS)
def test_node_types(name: str) -> None:
    """A head that makes nothing, GPU nodes, and nodes for decoding alone."""
    config = load(name)
    types = config["available_node_types"]
    assert set(types) == {"head", "gpu", "decode"} and config["head_node_type"] == "head"
    assert types["head"]["max_workers"] == 0 and types["head"]["resources"] == {"CPU": 0}
    assert types["gpu"]["resources"]["GPU"] == 1
    assert "GPU" not in types["decode"]["resources"] and types["decode"]["resources"]["decode"] > 0
    assert config["docker"]["image"] == IMAGE
    assert {"idle_timeout_minutes", "upscaling_speed"} <= set(config)


def test_ec2_takes_the_nodes() -> None:
    """Every field of a node against the parameters of EC2's RunInstances, as botocore knows them."""
    session = pytest.importorskip("botocore.session")
    from botocore.validate import ParamValidator

    run_instances = session.get_session().get_service_model("ec2").operation_model("RunInstances").input_shape

    def report(node: dict[str, Any]) -> str:
        return (
            ParamValidator().validate({**node, "MinCount": 1, "MaxCount": 1}, run_instances).generate_report()
        )

    nodes = [node_type["node_config"] for node_type in load("aws")["available_node_types"].values()]
    assert [report(node) for node in nodes] == [""] * 3
    wrong = copy.deepcopy(nodes[0])
    wrong["BlockDeviceMappings"][0]["Ebs"]["Size"] = 1
    assert "Size" in report(wrong)


@pytest.mark.parametrize("name", ALL)
def test_start_commands_are_rays(name: str) -> None:
    known = options_of(ray_command("start"))
    commands = starts(load(name))
    for command in commands.values():
        assert set(re.findall(r"(?<=\s)--[a-z-]+", command)) <= known
        assert int(option(command, "object-store-memory")) > 0
    assert "--head" in commands["head"] and "--num-cpus=0" in commands["head"]
    assert option(commands["head"], "dashboard-host") == "127.0.0.1", (
        "reached through ssh, never from outside"
    )
    assert "$RAY_HEAD_IP:6379" in commands["worker"]


@pytest.mark.parametrize("name", CLOUDS)
def test_shared_memory_and_spilling(name: str) -> None:
    """docker's /dev/shm holds the object store; the spilling folder is the host's and anyone may write it."""
    config = load(name)
    options = " ".join(config["docker"]["run_options"])
    shm = int(re.search(r"--shm-size=(\d+)gb", options)[1]) * 10**9
    volumes = {inside: host for host, inside in re.findall(r"--volume (\S+):(\S+)", options)}
    assert set(volumes) == {"/spill", "/data"}
    for command in starts(config).values():
        assert int(option(command, "object-store-memory")) <= shm
        assert option(command, "object-spilling-directory") == "/spill"
    commands = " ".join(config["initialization_commands"])
    assert f"chmod 1777 {volumes['/spill']}" in commands and f"mkdir -p {volumes['/data']}" in commands


@pytest.mark.parametrize("name", CLOUDS)
def test_runs_wait_for_the_nodes_they_ask_for(name: str) -> None:
    """At its start such a cluster has none: without this every run would be refused."""
    config = load(name)
    assert all(config["available_node_types"][kind]["min_workers"] == 0 for kind in ("gpu", "decode"))
    assert re.search(r"--env TUBEFLOW_NODES_S=[1-9]\d*", " ".join(config["docker"]["run_options"]))


@pytest.mark.parametrize("name", ALL)
def test_the_token_reaches_every_node(name: str) -> None:
    """As a folder from the machine of ``ray up``, read where it lands; no token is in the file."""
    config = load(name)
    assert config["file_mounts"]["~/.tubeflow"] == "~/.tubeflow"
    if name in CLOUDS:
        says = [" ".join(config["docker"]["run_options"])]
        home = "/home/ray"
    else:
        says, home = list(starts(config).values()), "$HOME"
    for text in says:
        assert "RAY_AUTH_MODE=token" in text
        assert f"RAY_AUTH_TOKEN_PATH={home}/.tubeflow/auth_token" in text
    assert not re.search(r"\b[0-9a-f]{32,}\b", yaml.safe_dump(config))


def test_on_prem_installs_the_project() -> None:
    """Without make and without docker: the installer is there, and a machine without GPU offers decoding."""
    config = load("on_prem")
    assert config["file_mounts"]["~/tubeflow"] == "."
    install = shlex.split(config["setup_commands"][0])[-1]
    assert (PROJECT / install).is_file()
    offers = re.search(r'--resources=("\$\(.*\)")', starts(config)["worker"])[1]
    said = subprocess.run(
        ["sh", "-c", f"echo {offers}"], capture_output=True, text=True, check=True, env={"PATH": os.defpath}
    )
    assert json.loads(said.stdout) == ({} if Path("/dev/nvidia0").exists() else {"decode": cpus()})
