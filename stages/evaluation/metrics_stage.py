"""The metrics stage: all scores of a run as tables, pooled over the data set as each protocol says."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from stages.artifacts.layout import Artifact
from stages.artifacts.ledger import Ledger
from stages.artifacts.place import Place
from stages.errors import SettingsError
from stages.evaluation.results import METRICS_JSON
from stages.evaluation.score_rows import Evidence, current_evidence, current_scores
from stages.metrics import box_protocols
from stages.metrics.box_protocols import BOX_PROTOCOLS
from stages.metrics.protocols import Score, pooled
from stages.stage import ReduceStage, WorkContext


@dataclass(frozen=True)
class MetricsStage(ReduceStage):
    """Writes ``metrics.json`` (figures by candidate and protocol), ``per_video.parquet``,
    ``per_object.parquet``.

    Attributes:
        protocols: in the order of the tables.
        primary: the protocol that the method's paper reports; best and worst videos are chosen by it.
    """

    kind: ClassVar[str] = "metrics"

    protocols: tuple[str, ...]
    primary: str

    @property
    def name(self) -> str:
        """Always ``metrics``."""
        return "metrics"

    def make(self, inputs: Sequence[Place], folder: Path, context: WorkContext) -> None:
        """See `WholeStage.make`.

        Raises:
            SettingsError: no video is left that has a score.
        """
        scores = context.inputs["scores"]
        rows = current_scores(scores)
        if not rows.num_rows:
            raise _nothing_scored(scores)
        whole_video = pc.is_null(rows["object"])
        pq.write_table(per_video(rows), folder / "per_video.parquet")
        pq.write_table(rows.filter(pc.invert(whole_video)), folder / "per_object.parquet")
        primary = self.primary if self.primary in self.protocols else self.protocols[0]
        result: dict[str, Any] = {
            "primary": primary,
            "protocols": list(self.protocols),
            "videos": len(set(rows["video"].to_pylist())),
            "values": figures(rows, self.protocols, partial(current_evidence, scores)),
        }
        (folder / METRICS_JSON).write_text(json.dumps(result, indent=2) + "\n")


def _nothing_scored(folder: str) -> SettingsError:
    """Why there is nothing to make a table of: how many videos ended how, and what the first one says."""
    ledger = Ledger.load(Artifact.at(folder))
    counts = ledger.totals()
    first = [*ledger.with_status("rejected").to_pylist(), *ledger.with_status("skipped").to_pylist()][:1]
    why = "".join(f"; {row['video']}: {row['message']}" for row in first)
    return SettingsError(
        f"no video has a score: {counts.rejected} were rejected and {counts.skipped} skipped{why}; mend what "
        "the messages name (--explain VIDEO has them), then run again with --retry-failed"
    )


def per_video(rows: pa.Table) -> pa.Table:
    """One row per video, candidate and protocol: a video's own score, or the mean over its objects."""
    grouped = rows.group_by(["video", "candidate", "protocol"]).aggregate([("value", "mean")])
    return grouped.rename_columns(["video", "candidate", "protocol", "value"]).sort_by(
        [("video", "ascending"), ("candidate", "ascending"), ("protocol", "ascending")]
    )


def no_evidence(protocol: str) -> Evidence:
    """Where only label maps were scored."""
    return {}


def figures(
    rows: pa.Table, protocols: Sequence[str], evidence: Callable[[str], Evidence] = no_evidence
) -> dict[str, dict[str, float | None]]:
    """The data set's figure of every candidate and protocol; None where no video counts.

    Args:
        rows: of `stages.evaluation.score_rows.ROWS_SCHEMA`.
        protocols: names, in the order of the result.
        evidence: of a protocol on boxes, tubes or words; asked for one after the other, for memory's sake.
    """
    scores: dict[tuple[str, str], dict[str, list[Score]]] = {}
    candidates = list(dict.fromkeys(rows["candidate"].to_pylist()))
    for row in rows.filter(pc.is_valid(rows["value"])).to_pylist():
        found = scores.setdefault((row["candidate"], row["protocol"]), {})
        found.setdefault(row["video"], []).append(Score(row["protocol"], row["object"], row["value"]))
    result: dict[str, dict[str, float | None]] = {candidate: {} for candidate in candidates}
    for name in protocols:
        by_candidate = evidence(name) if name in BOX_PROTOCOLS else {}
        for candidate in candidates:
            if name in BOX_PROTOCOLS:
                result[candidate][name] = box_protocols.pooled(name, by_candidate.get(candidate, []))
            else:
                result[candidate][name] = pooled(name, scores.get((candidate, name), {}))
    return result
