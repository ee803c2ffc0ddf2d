"""The totals of every artifact of a run, and one table of all rejects with the files they come from."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from stages.artifacts.layout import Artifact
from stages.artifacts.ledger import Ledger
from stages.artifacts.place import Place
from stages.stage import ReduceStage, WorkContext


@dataclass(frozen=True)
class SummaryStage(ReduceStage):
    """Writes ``summary.json`` (totals per artifact) and ``rejects.parquet``.

    The rejects table has the columns ``stage, video, source, error_class, message, attempts``.
    """

    kind: ClassVar[str] = "summary"

    @property
    def name(self) -> str:
        """Always ``summary``."""
        return "summary"

    def make(self, inputs: Sequence[Place], folder: Path, context: WorkContext) -> None:
        """See `WholeStage.make`."""
        totals, rejects = {}, []
        for path in inputs:
            artifact = Artifact.at(path)
            ledger = Ledger.load(artifact)
            rejected = ledger.with_status("rejected").sort_by("video")
            classes = pc.value_counts(rejected["error_class"].cast(pa.string())).to_pylist()
            totals[artifact.kind] = {
                "artifact": path.name,
                **vars(ledger.totals()),
                "rejected_by_class": {c["values"]: c["counts"] for c in classes},
            }
            columns = ["video", "source", "error_class", "message", "attempts"]
            table = rejected.select(columns)
            stage = pa.array([artifact.kind] * table.num_rows, pa.string())
            table = table.set_column(2, "error_class", table["error_class"].cast(pa.string()))
            rejects.append(table.add_column(0, "stage", stage))
        text = json.dumps(totals, indent=2, sort_keys=True) + "\n"
        (folder / "summary.json").write_text(text)
        pq.write_table(pa.concat_tables(rejects), folder / "rejects.parquet")
