"""The report's data of a real small run, against the artifacts it is gathered from."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages.artifacts import whole
from stages.labeling.accuracy import Accuracy, write_accuracy
from stages.report.gather import NAMES, _notes, gather
from stages.report.page.model import MetricRow
from stages.stage import WorkContext
from tests.measured import GOOD, PROTOCOLS, Measured

SETTINGS = {"recipe": "solv_ytvis", "method": {"name": "solv"}}


@pytest.fixture
def context(measured: Measured, tmp_path: Path) -> WorkContext:
    """What the report stage is handed, with no tubes: pictures are tested elsewhere."""
    kinds = ("catalog", "features", "scores", "model", "metrics")
    inputs = {kind: str(measured.artifact(kind)) for kind in kinds}
    facts = {
        "settings": SETTINGS,
        "stages": {"features": {"done": 4, "seconds": 2.5}, "model": {"seconds": 1}},
    }
    return WorkContext(str(measured.data), tmp_path, inputs=inputs, facts=facts)


def test_what_was_made_is_told_from_what_was_found(context: WorkContext) -> None:
    lines = {line.kind: line for line in gather(context).stages}
    assert (lines["features"].made, lines["features"].cached, lines["features"].seconds) == (4, 2, 2.5)
    assert (lines["catalog"].made, lines["catalog"].cached, lines["catalog"].rejected) == (0, 6, 1)
    assert (lines["scores"].skipped, lines["scores"].rejected) == (3, 1)
    assert (lines["model"].made, lines["metrics"].made, lines["metrics"].cached) == (1, 0, 1)
    assert lines["model"].bytes > 0


def test_rows_are_the_methods_masks_then_trivial_then_published(context: WorkContext) -> None:
    report = gather(context)
    names = [row.candidate for row in report.rows]
    assert names[:2] == ["solv · decoder masks", "solv · attention masks"]
    assert names[2:5] == [NAMES[name] for name in ("one", "blocks", "kmeans")]
    assert [row.trained for row in report.rows] == [True, True, False, False, False, False, False]
    assert [row.published for row in report.rows[5:]] == [True, True]
    assert [name for name, _ in report.protocols] == list(PROTOCOLS)
    assert report.primary == "miou@solv"
    assert (report.title, report.recipe) == ("solv_ytvis on clips", "solv_ytvis")


def test_videos_without_a_score_have_no_line(context: WorkContext) -> None:
    report = gather(context)
    assert len(report.videos) == 2 * len(GOOD)
    assert all(None not in line.values.values() for line in report.videos)
    late = [line for line in report.videos if line.video.startswith("late@mp4")]
    assert all("miou@solv" not in line.values and "mbo@video" in line.values for line in late)


def test_rejects_of_all_stages_are_named(context: WorkContext) -> None:
    rejects = gather(context).rejects
    assert [(line.stage, line.error_class) for line in rejects] == [
        ("catalog", "annotation"), ("scores", "annotation"),
    ]  # fmt: skip


def test_curves_are_the_history_thinned(context: WorkContext, measured: Measured, tmp_path: Path) -> None:
    curves = {curve.name: curve.points for curve in gather(context).curves}
    found = whole.current(measured.artifact("model"))
    assert found is not None
    history = pq.read_table(found[0] / "history.parquet").to_pylist()
    assert list(curves["loss"]) == [(r["step"], r["value"]) for r in history if r["name"] == "loss"]
    copy = shutil.copytree(measured.artifact("model"), tmp_path / measured.artifact("model").name)
    long = pa.table({"step": range(1200), "name": ["loss"] * 1200, "value": [0.5] * 1200})
    pq.write_table(long, copy / found[0].name / "history.parquet")
    inputs = {**context.inputs, "model": str(copy)}
    (curve,) = gather(dataclasses.replace(context, inputs=inputs)).curves
    assert [step for step, _ in curve.points] == list(range(0, 1200, 3))


def test_a_run_that_only_cached_features(context: WorkContext) -> None:
    inputs = {kind: context.inputs[kind] for kind in ("catalog", "features")}
    report = gather(dataclasses.replace(context, inputs=inputs, facts={}))
    assert (report.rows, report.videos, report.curves, report.overlays, report.notes) == ([], [], [], [], [])
    assert report.title == "run on clips"
    assert len(report.stages) == 2


def test_words_that_a_trained_clip_knows(context: WorkContext, tmp_path: Path) -> None:
    artifact = tmp_path / "clip" / "sprites-12345678"
    accuracy = {"colour": Accuracy(0.9, 0.1, 0.2)}
    whole.produce(artifact, {"kind": "clip"}, "0" * 64, lambda folder: write_accuracy(folder, accuracy))
    inputs = {**context.inputs, "clip": str(artifact)}
    report = gather(dataclasses.replace(context, inputs=inputs))
    assert report.words == [MetricRow("colour", {"right": 0.9, "chance": 0.1, "majority": 0.2})]
    assert gather(context).words == []


def row(name: str, value: float | None, trained: bool = False) -> MetricRow:
    return MetricRow(name, {"fgari@video": value}, trained=trained)


def test_a_trivial_row_that_wins_is_said() -> None:
    rows = [row("solv", 0.2, True), row("k-means", 0.3), row("blocks", 0.1), row("one", 0.4)]
    assert list(_notes(rows, "fgari@video")) == ["solv is below k-means and one in fgari@video."]


def test_equal_is_not_below() -> None:
    assert list(_notes([row("solv", 0.2, True), row("one", 0.2)], "fgari@video")) == []


@pytest.mark.parametrize("mine", [None, -0.1, 0.0])
def test_a_missing_figure_beats_nothing_and_is_beaten_by_nothing(mine: float | None) -> None:
    """FG-ARI can be negative: a missing figure is no 0."""
    rows = [row("solv", mine, True), row("k-means", None), row("blocks", -0.5)]
    assert list(_notes(rows, "fgari@video")) == []
