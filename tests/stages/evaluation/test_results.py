"""Reading the figures of a run."""

from __future__ import annotations

from pathlib import Path

from stages.evaluation.results import read_metrics
from tests.measured import PROTOCOLS, Measured


def test_the_figures_of_a_run(measured: Measured) -> None:
    content = read_metrics(str(measured.artifact("metrics")))
    assert content is not None
    assert tuple(content["protocols"]) == PROTOCOLS
    assert "decoder" in content["values"]


def test_none_where_there_are_none(measured: Measured, tmp_path: Path) -> None:
    assert read_metrics(tmp_path / "absent") is None
    assert read_metrics(measured.artifact("report")) is None
