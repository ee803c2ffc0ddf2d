"""Totals and rejects of a real small run."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from stages.artifacts import whole
from stages.report.summary import SummaryStage
from stages.stage import WorkContext
from tests.measured import GOOD, Measured

KINDS = ("catalog", "features", "tubes", "scores")


@pytest.fixture(scope="module")
def folder(measured: Measured) -> Path:
    found = whole.current(measured.artifact("summary"))
    assert found is not None
    return found[0]


def test_every_video_is_accounted_for_in_every_stage(measured: Measured, folder: Path) -> None:
    """Six videos and the masks of one that is missing: in the end done, skipped or rejected."""
    totals = json.loads((folder / "summary.json").read_text())
    assert set(totals) == set(KINDS)
    count = {kind: [totals[kind][s] for s in ("done", "skipped", "rejected")] for kind in KINDS}
    assert count["catalog"] == [6, 0, 1]
    assert count["features"] == [6, 1, 0]
    assert count["tubes"] == [5, 2, 0]
    assert count["scores"] == [len(GOOD), 3, 1]
    assert {sum(found) for found in count.values()} == {7}
    assert totals["scores"]["rejected_by_class"] == {"annotation": 1}
    assert totals["features"]["rejected_by_class"] == {}
    assert totals["features"]["frames"] == 30
    assert [totals[kind]["artifact"] for kind in KINDS] == [measured.artifact(k).name for k in KINDS]


def test_rejects_of_all_stages_are_one_table(folder: Path) -> None:
    table = pq.read_table(folder / "rejects.parquet")
    assert table.column_names == ["stage", "video", "source", "error_class", "message", "attempts"]
    rows = table.to_pylist()
    assert [(row["stage"], row["error_class"]) for row in rows] == [
        ("catalog", "annotation"), ("scores", "annotation"),
    ]  # fmt: skip
    assert "Annotations/orphan" in rows[0]["message"]
    assert "Annotations/other <b> size" in rows[1]["message"]
    assert all(row["source"] and row["video"].startswith(row["source"]) for row in rows)


def test_nothing_rejected_is_an_empty_table(measured: Measured, tmp_path: Path) -> None:
    context = WorkContext(".", tmp_path)
    SummaryStage().make([measured.artifact("features")], tmp_path, context)
    assert pq.read_table(tmp_path / "rejects.parquet").num_rows == 0
    assert list(json.loads((tmp_path / "summary.json").read_text())) == ["features"]
