"""The metrics stage: all scores of a run as tables, pooled over the data set as each protocol says."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from stages.artifacts.layout import Artifact
from stages.artifacts.ledger import Ledger
from stages.errors import SettingsError
from stages.evaluation.results import METRICS_JSON
from stages.evaluation.scores_stage import SCORES_SCHEMA
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

    def make(self, inputs: Sequence[Path], folder: Path, context: WorkContext) -> None:
        """See `WholeStage.make`.

        Raises:
            SettingsError: no video is left that has a score.
        """
        rows = current_scores(Path(context.inputs["scores"]))
        if not rows.num_rows:
            raise _nothing_scored(Path(context.inputs["scores"]))
        whole_video = pc.is_null(rows["object"])
        pq.write_table(per_video(rows), folder / "per_video.parquet")
        pq.write_table(rows.filter(pc.invert(whole_video)), folder / "per_object.parquet")
        primary = self.primary if self.primary in self.protocols else self.protocols[0]
        result: dict[str, Any] = {
            "primary": primary,
            "protocols": list(self.protocols),
            "videos": len(set(rows["video"].to_pylist())),
            "values": figures(rows, self.protocols),
        }
        (folder / METRICS_JSON).write_text(json.dumps(result, indent=2) + "\n")


def _nothing_scored(folder: Path) -> SettingsError:
    """Why there is nothing to make a table of: how many videos ended how, and what the first one says."""
    ledger = Ledger.load(Artifact.at(folder))
    counts = ledger.totals()
    first = [*ledger.with_status("rejected").to_pylist(), *ledger.with_status("skipped").to_pylist()][:1]
    why = "".join(f"; {row['video']}: {row['message']}" for row in first)
    return SettingsError(
        f"no video has a score: {counts.rejected} were rejected and {counts.skipped} skipped{why}; mend what "
        "the messages name (--explain VIDEO has them), then run again with --retry-failed"
    )


def current_scores(folder: Path) -> pa.Table:
    """All rows of `SCORES_SCHEMA` that count, shard by shard; superseded results are left out."""
    artifact = Artifact.at(folder)
    ledger = Ledger.load(artifact)
    done = ledger.with_status("done")
    wanted: dict[str, set[str]] = {}
    for video, shard in zip(
        done["video"].to_pylist(), done["shard"].cast(pa.string()).to_pylist(), strict=True
    ):
        wanted.setdefault(shard, set()).add(video)
    tables = [SCORES_SCHEMA.empty_table()]
    for shard, videos in sorted(wanted.items()):
        table = pq.read_table(artifact.shard(shard), schema=SCORES_SCHEMA)
        tables.append(table.filter(pc.is_in(table["video"], pa.array(sorted(videos)))))
    return pa.concat_tables(tables)


def per_video(rows: pa.Table) -> pa.Table:
    """One row per video, candidate and protocol: a video's own score, or the mean over its objects."""
    grouped = rows.group_by(["video", "candidate", "protocol"]).aggregate([("value", "mean")])
    return grouped.rename_columns(["video", "candidate", "protocol", "value"]).sort_by(
        [("video", "ascending"), ("candidate", "ascending"), ("protocol", "ascending")]
    )


def figures(rows: pa.Table, protocols: Sequence[str]) -> dict[str, dict[str, float | None]]:
    """The data set's figure of every candidate and protocol; None where no video counts."""
    scores: dict[tuple[str, str], dict[str, list[Score]]] = {}
    order: dict[str, None] = {}
    for row in rows.to_pylist():
        order[row["candidate"]] = None
        found = scores.setdefault((row["candidate"], row["protocol"]), {})
        found.setdefault(row["video"], []).append(Score(row["protocol"], row["object"], row["value"]))
    return {
        candidate: {name: pooled(name, scores.get((candidate, name), {})) for name in protocols}
        for candidate in order
    }
