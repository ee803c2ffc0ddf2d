"""Embeddings and names of the tubes of the measured run, made by the real stages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stages.artifacts import manifest
from stages.artifacts.commit import commit
from stages.artifacts.layout import Artifact, ShardLayout, start
from stages.discovery.baselines import KMeansMethod
from stages.discovery.tubes_stage import TubesStage
from stages.outcome import Done, Outcome
from stages.stage import UPSTREAM_SHARD, MapStage, MemoryAttempts, WorkContext
from tests.measured import Measured


def items(artifact: Artifact, shard: str) -> list[dict[str, Any]]:
    """What a shard hands to the next stage."""
    found = manifest.read_footer(artifact.manifest(shard)).outcomes
    return [{**o["info"], "video": o["video"], UPSTREAM_SHARD: shard} for o in found if o["status"] == "done"]


def clustered(measured: Measured, store: Path) -> Artifact:
    """Tubes of the measured run's features that are worth naming: its model has hardly been trained."""
    method = KMeansMethod(facet="rgb", position=0.3, clusters=4)
    return made(TubesStage(method), Artifact.at(measured.artifact("features")), measured, store)[0]


def made(
    stage: MapStage, above: Artifact, measured: Measured, store: Path, **inputs: str
) -> tuple[Artifact, list[Outcome]]:
    """The first shard of ``stage`` on the first shard of ``above``, committed in ``store``."""
    kinds = {kind: str(measured.artifact(kind)) for kind in ("catalog", "features")}
    context = WorkContext(str(measured.data), store, inputs={**kinds, **inputs})
    artifact = Artifact(store / stage.kind / stage.fingerprint()[:8], stage.kind, stage.suffix)
    start(artifact, {"kind": stage.kind, "identity": stage.identity()}, ShardLayout())
    upstream = above.committed()[0]
    shard = f"{upstream}-00"
    worker = stage.open(context)
    writer = stage.writer(artifact.shard(shard).with_suffix(".temp"), shard)
    outcomes = []
    for outcome in worker.process(items(above, upstream), writer, MemoryAttempts()):
        (writer.keep if isinstance(outcome, Done) else writer.discard)(outcome.video)
        outcomes.append(outcome)
    worker.close()
    commit(artifact, shard, writer.finish(), outcomes, upstream)
    return artifact, outcomes
