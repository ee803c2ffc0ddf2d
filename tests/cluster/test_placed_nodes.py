"""Nodes of different kinds: who works where, and that bytes don't depend on it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import cli
from tests.cluster.nodes import Nodes, started_nodes
from tests.cluster.noting import noted
from tests.e2e.test_naming import CLIP, sets
from tests.faults.processes import PATIENCE_S
from tests.media import make_corpus
from tests.outside import PROJECT

DECODER = "decode.decoder=tests.cluster.noting:NotingDecoder"


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    """A head that is given no work, a node with a GPU, and one that is there to decode."""
    with started_nodes() as found:
        found.add(cpus=2, gpus=1)
        found.add(cpus=2, resources='{"decode": 2}')
        yield found


def on_nodes(nodes: Nodes, *command: object) -> subprocess.CompletedProcess[str]:
    """The command line's run on the cluster."""
    return subprocess.run(
        [*cli.RUN, *map(str, command), "--address", nodes.address],
        env=nodes.env, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


def sessions(nodes: Nodes) -> dict[str, int]:
    model, decode = nodes.workers
    return {"head": nodes.head.process.pid, "model": model.process.pid, "decode": decode.process.pid}


def test_owners_of_models_share_the_gpu_and_light_ones_keep_off(nodes: Nodes, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.cluster.noting", nodes.address, tmp_path, "6"],
        cwd=PROJECT, env=nodes.env, capture_output=True, text=True, timeout=PATIENCE_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout) == [""] * 24
    where = sessions(nodes)
    assert {label: noted(tmp_path / "notes", label) for label in "abcd"} == {
        label: {where["model"]} for label in "abcd"
    }


def test_remote_decoding_is_on_the_decode_node_and_gives_the_same_bytes(nodes: Nodes, tmp_path: Path) -> None:
    root = make_corpus(tmp_path / "videos", 5, frames=20)
    (root / "text.mp4").write_text("no video")
    where, found, decoded = sessions(nodes), [], []
    for placement in ("fused", "remote"):
        for path in (tmp_path / "notes").glob("*"):
            path.unlink()
        settings = (DECODER, "layout.shard_videos=2", "run.device=cpu", "run.gpus=1")
        command = cli.features(root, tmp_path / placement, *sets(*settings, f"decode.placement={placement}"))
        done = on_nodes(nodes, *command, "--max-failed", 1)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "features: 5 done" in done.stdout
        decoded.append(noted(tmp_path / "notes", "decode"))
        found.append(cli.digests(tmp_path / placement))
    assert decoded == [{where["model"]}, {where["decode"]}]
    assert found[0] == found[1] != {}


@pytest.mark.long
def test_all_stages_decode_on_the_decode_node_and_give_the_same_bytes(nodes: Nodes, tmp_path: Path) -> None:
    """Features and embeddings of `label_corpus`, against those of the local runner; in parts this is shown by
    the test above and those of `tests.cluster.test_ray_decoding`.
    """
    root, clip = make_corpus(tmp_path / "videos", 3, frames=8), tmp_path / "clip.json"
    (root / "text.mp4").write_text("no video")
    clip.write_text(json.dumps(CLIP))
    settings = (
        f"data.root={root}", "decode.fps=all", "decode.size=[48,64]", DECODER, "layout.shard_videos=2",
        "backbone={name: patchstats, stride: 8, facets: [tokens, rgb]}", "model=kmeans",
        "kmeans={facet: rgb, clusters: 3}", f"label.model={clip}", "label.weights=random",
        "label.vocabulary=cat,dog", "run.device=cpu",
    )  # fmt: skip
    command = ["label_corpus", "--max-failed", 1, *sets(*settings)]
    cli.run(*command, *sets(f"store={tmp_path / 'fused'}"), "--runner", "local")
    for path in (tmp_path / "notes").glob("*"):
        path.unlink()
    remote = sets(f"store={tmp_path / 'remote'}", "run.gpus=1", "decode.placement=remote")
    done = on_nodes(nodes, *command, *remote)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "embeddings: 3 done" in done.stdout
    decoded = noted(tmp_path / "notes", "decode") - {os.getsid(0)}  # the report's pictures, in the driver
    assert decoded == {sessions(nodes)["decode"]}
    found = cli.digests(tmp_path / "remote")
    assert found == cli.digests(tmp_path / "fused")
    assert {name.partition("/")[0] for name in found} >= {"features", "embeddings", "named"}


def test_what_does_not_fit_is_refused_before_the_start(nodes: Nodes, tmp_path: Path) -> None:
    root = make_corpus(tmp_path / "videos", 1, frames=2)
    settings = sets("decode.placement=remote", "run.decode_workers=3", "run.device=cpu")
    done = on_nodes(nodes, *cli.features(root, tmp_path / "store", *settings))
    assert done.returncode == 5, done.stdout + done.stderr
    assert "3 decoders need 1 CPU + 1 decode each" in done.stderr
    assert "lower run.decode_workers" in done.stderr
