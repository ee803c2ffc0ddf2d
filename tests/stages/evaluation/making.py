"""Stages run shard by shard in this process, and figures of what they leave behind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from stages.artifacts.commit import commit
from stages.artifacts.layout import Artifact, ShardLayout, start
from stages.evaluation.metrics_stage import MetricsStage
from stages.outcome import Done, Outcome
from stages.stage import UPSTREAM_SHARD, MapStage, MemoryAttempts, Row, WorkContext


def process(
    stage: MapStage, rows: list[Row], context: WorkContext, store: Path
) -> tuple[Artifact, list[Outcome]]:
    """One committed shard of ``stage``, called like what it was made from."""
    artifact = Artifact(store / stage.kind / "made", stage.kind, stage.suffix)
    start(artifact, {"kind": stage.kind, "identity": stage.identity()}, ShardLayout())
    upstream = rows[0].get(UPSTREAM_SHARD, "")
    shard = f"{upstream}-00" if upstream else "000000"
    worker = stage.open(context)
    writer, outcomes = stage.writer(artifact.shard(shard).with_suffix(".tmp"), shard), []
    for outcome in worker.process(rows, writer, MemoryAttempts()):
        (writer.keep if isinstance(outcome, Done) else writer.discard)(outcome.video)
        outcomes.append(outcome)
    worker.close()
    commit(artifact, shard, writer.finish(), outcomes, upstream)
    return artifact, outcomes


def figures_of(scores: Artifact, protocols: tuple[str, ...], folder: Path) -> dict[str, Any]:
    folder.mkdir()
    context = WorkContext(".", folder, inputs={"scores": str(scores.root)})
    MetricsStage(protocols, "corloc@vol").make((), folder, context)
    content: dict[str, Any] = json.loads((folder / "metrics.json").read_text())
    return content
