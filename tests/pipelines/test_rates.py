"""Rates are taken from shards that were really made, of the same settings, on the hardware there will be."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cluster.chain import Receipt
from configs.compose import compose
from pipelines.graph import build
from pipelines.rates import Rate, Records, measure, weighted_median
from pipelines.runs import all_runs
from stages.artifacts.layout import processor
from stages.stage import Stage
from tests.measured import Measured


def test_cached_repaired_and_failed_shards_are_no_measurement() -> None:
    sums: dict[str, dict[str, float]] = {}
    made = {"done": 2, "skipped": 1, "frames": 8, "bytes": 10, "items": 3, "hardware": "x"}
    measure(sums, Receipt(0, "a", **made))
    measure(sums, Receipt(0, "a", **made, seconds=2.0, again=True))
    measure(sums, Receipt(0, "a", **made, seconds=2.0, error="disk", error_kind="store"))
    assert sums == {}
    measure(sums, Receipt(0, "a", **made, seconds=5.0, cpu=6.0, setup=1.0))
    measure(sums, Receipt(0, "b", **made, seconds=3.0, cpu=2.0))
    assert sums == {
        "x": {"shards": 2, "items": 6, "videos": 6, "frames": 16, "bytes": 20, "seconds": 7.0, "cpu": 7.0,
              "setup": 1.0, "workers": 1}
    }  # fmt: skip


def test_half_of_all_weight() -> None:
    assert weighted_median([(1, 1), (9, 1), (2, 1)]) == 2
    assert weighted_median([(1, 1), (9, 5), (2, 1)]) == 9


@pytest.fixture
def features(measured: Measured) -> Stage:
    settings = list(measured.arguments[2:-2:2])
    return build(compose("solv_ytvis", assignments=[str(s) for s in settings])).chain[1].stage


def copies(measured: Measured, store: Path, *changes: tuple[str, float]) -> Records:
    """Records of runs made from a real one: on other hardware, and so many times as slow."""
    (run,) = all_runs(measured.store)
    for number, (hardware, slow) in enumerate(changes):
        status = json.loads(json.dumps(run.status))
        for stage in status["stages"].values():
            (sums,) = stage["measured"].values()
            stage["measured"] = {hardware: {**sums, "seconds": sums["seconds"] * slow}}
        folder = store / "runs" / f"20260101-00000{number}-x-0000"
        folder.mkdir(parents=True)
        (folder / "status.json").write_text(json.dumps(status))
    return Records(store)


def per_video(rate: Rate | None) -> float:
    assert rate is not None
    value = rate.per("items")
    assert value is not None
    return value


def test_what_is_there_counts_else_the_newest(measured: Measured, features: Stage, tmp_path: Path) -> None:
    here = Records(measured.store)
    name = measured.artifact("features").name
    one = per_video(here.rate(features, name, [processor()]))
    records = copies(measured, tmp_path, ("GPU NVIDIA H200", 0.1), ("EPYC", 2), ("GPU NVIDIA L4", 0.5))

    def asked(hardware: list[str], gpu: bool) -> tuple[str, float]:
        rate = records.rate(features, name, hardware, gpu)
        assert rate is not None and rate.same
        return rate.hardware, round(per_video(rate) / one, 6)

    assert asked(["EPYC", "NVIDIA H200"], True) == ("GPU NVIDIA H200", 0.1)
    assert asked(["H200"], True) == ("GPU NVIDIA H200", 0.1)  # as Ray calls it
    assert asked(["EPYC"], False) == ("EPYC", 2)
    assert asked(["M1"], False) == ("GPU NVIDIA L4", 0.5)


def test_newer_runs_weigh_more(measured: Measured, features: Stage, tmp_path: Path) -> None:
    records = copies(measured, tmp_path, ("a", 9), ("a", 1), ("a", 1.1), ("a", 2))
    rate = records.rate(features, "elsewhere", ["a"])
    one = per_video(Records(measured.store).rate(features, ""))
    assert rate is not None and (rate.runs, rate.same, rate.items) == (4, False, 4 * 7)
    assert per_video(rate) / one == pytest.approx(2)  # without weights 1.1
    assert [value / one for value in rate.spread("items")] == pytest.approx([1, 9])


def test_records_without_figures_are_passed_over(features: Stage, tmp_path: Path) -> None:
    for name, text in (("a", "{"), ("b", "{}"), ("c", '{"stages": {"features": {"done": 3}}}')):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "status.json").write_text(text)
    assert (
        Records(tmp_path).rate(features, "x") is None and Records(tmp_path / "none").whole(features) is None
    )
