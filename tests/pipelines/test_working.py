"""The course of a run beside another one; runs in processes of their own are in ``tests/faults``."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from cluster.local import LocalRunner
from configs.compose import compose
from pipelines import working
from pipelines.graph import Graph, build
from pipelines.output import Output
from pipelines.planning import Options, make_plan
from pipelines.runs import RunRecord
from pipelines.sharing import works_on
from pipelines.working import Work
from stages.artifacts import leases
from stages.artifacts.layout import Artifact
from stages.artifacts.leases import Lease
from tests.faults.processes import wait_until
from tests.media import make_corpus

SHARDS = 4


@pytest.fixture
def graph(tmp_path: Path) -> Graph:
    """Mean colours of four small videos, one per shard, not yet made."""
    make_corpus(tmp_path / "videos", SHARDS, frames=2)
    settings = [f"data.root={tmp_path / 'videos'}", f"store={tmp_path / 'store'}", "decode.fps=all"]
    settings += ["decode.size=[48,64]", "backbone.facets=[rgb]", "layout.shard_videos=1"]
    return build(compose("features", assignments=settings))


def work(graph: Graph) -> RunRecord:
    """A whole run in this thread."""
    plan = make_plan(graph, Options(), record=True)
    record = RunRecord(graph.store, graph.config, works_on(graph))
    Work(graph, Options(), LocalRunner(), Output(as_json=True), record).do(plan)
    record.close("finished", 0)
    return record


class Other:
    """A run that is at work on shards that were made before and are to be made again."""

    def __init__(self) -> None:
        self._made: dict[Path, bytes] = {}
        self._leases: dict[Path, Lease] = {}

    def hold(self, artifact: Artifact, shard: str) -> None:
        found = leases.take(artifact.lease(shard), "other")
        assert isinstance(found, Lease)
        self._leases[artifact.lease(shard)] = found.__enter__()

    def undo(self, artifact: Artifact, shard: str) -> None:
        manifest = artifact.manifest(shard)
        self._made[manifest] = manifest.read_bytes()
        manifest.unlink()

    def commit(self, artifact: Artifact, shard: str) -> None:
        artifact.manifest(shard).write_bytes(self._made[artifact.manifest(shard)])
        self.release(artifact, shard)

    def release(self, artifact: Artifact, shard: str) -> None:
        self._leases.pop(artifact.lease(shard)).__exit__(None, None, None)


def test_a_run_that_waits_looks_at_what_others_make_and_plans_nothing_anew(
    graph: Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At a million videos a plan is seconds of CPU, and others commit a shard a second."""
    work(graph)
    catalog, features = (bound.artifact for bound in graph.chain)
    other, plans, done = Other(), [], []
    for shard in ("000001", "000002", "000003"):
        other.undo(catalog, shard), other.undo(features, f"{shard}-00")
        other.hold(catalog, shard)
    other.hold(features, "000001-00")
    plan = working.make_plan
    monkeypatch.setattr(working, "make_plan", lambda *args, **more: plans.append(1) or plan(*args, **more))
    thread = threading.Thread(target=lambda: done.append(work(graph)), daemon=True)
    thread.start()
    wait_until(lambda: _waiting(graph), "wait for all three")
    other.commit(catalog, "000001")  # what follows is held, too
    other.release(catalog, "000002")  # its holder has died
    wait_until(lambda: features.manifest("000002-00").exists(), "what nobody made any more")
    other.commit(catalog, "000003")  # what follows is free
    wait_until(lambda: features.manifest("000003-00").exists(), "what follows from it")
    assert thread.is_alive() and not done
    other.commit(features, "000001-00")
    thread.join(90)
    (record,) = done
    made = {kind: (counts["done"], counts["made"]) for kind, counts in record.stages.items()}
    assert made == {"catalog": (3, 1), "features": (3, 2)}
    assert plans == []
    assert not [path for bound in graph.chain for path in bound.artifact.root.glob("leases/*")]


def _waiting(graph: Graph) -> bool:
    """Whether a run has planned, and made all that nobody else has."""
    assert isinstance(graph.store, Path)
    return any(b'"waiting"' in path.read_bytes() for path in graph.store.glob("runs/*/events.jsonl"))
