"""Comparing runs: records of runs with figures given by hand, and one real run."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import pytest

from configs.compose import compose as settings
from pipelines.arguments import parser
from pipelines.comparing import compare
from pipelines.output import Output
from pipelines.runs import RunRecord
from stages.artifacts import whole
from stages.errors import SettingsError
from tests import cli
from tests.measured import PROTOCOLS, Measured

Values = dict[str, dict[str, float | None]]
OWN = "decoder"


def recorded(store: Path, values: Values, *changes: str, data: str = "clips-1", videos: int = 3) -> str:
    """A finished run with its figures, as `pipelines.commands` leaves it behind; its name."""
    config = settings("solv_davis", assignments=["data.root=/videos", f"store={store}", *changes])
    record = RunRecord(store, config)
    protocols = list(dict.fromkeys(name for found in values.values() for name in found))
    content = {"primary": protocols[0], "protocols": protocols, "videos": videos, "values": values}

    def write(private: Path) -> None:
        (private / "metrics.json").write_text(json.dumps(content))

    folder = store / "metrics" / f"metrics-{record.id[-4:]}"
    whole.produce(
        folder,
        {"kind": "metrics", "name": "metrics", "inputs": [data, "features-1", "solv-1", "scores-1"]},
        "0" * 64,
        write,
    )
    record.made({"metrics": str(folder)})
    record.close("finished", 0)
    return record.id


def compared(store: Path, *runs: object, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """What ``compare --json`` prints, its rows by candidate."""
    args = parser().parse_args(["compare", *map(str, runs), "--set", f"store={store}", "--json"])
    assert compare(args, Output(as_json=True)) == 0
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    return {**result, "rows": {row["candidate"]: row for row in result["rows"]}}


def refused(store: Path, *runs: object) -> str:
    args = parser().parse_args(["compare", *map(str, runs), "--set", f"store={store}"])
    with pytest.raises(SettingsError) as error:
        compare(args, Output(as_json=True))
    assert not (store / "compare").exists()
    return str(error.value)


def test_mean_and_sample_deviation_over_seeds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    figures = [0.2, 0.3, 0.7]
    runs = [
        recorded(tmp_path, {OWN: {"fgari@video": x}, "one": {"fgari@video": 0.1}}, f"train.seed={seed}")
        for seed, x in enumerate(figures)
    ]
    result = compared(tmp_path, *runs, capsys=capsys)
    own = result["rows"]["solv · decoder"]
    assert own["runs"] == 3
    assert own["values"]["fgari@video"] == pytest.approx(mean(figures))
    assert own["spread"]["fgari@video"] == pytest.approx(stdev(figures))
    assert result["rows"]["one"]["values"]["fgari@video"] == pytest.approx(0.1)
    assert result["rows"]["one"]["spread"]["fgari@video"] == pytest.approx(0.0)
    assert result["notes"] == []
    page = Path(result["page"]).read_text()
    assert "40.0 <span class='soft'>± 26.5</span>" in page
    assert all(run in page for run in runs)


def test_one_run_per_method_has_no_spread(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [
        recorded(tmp_path, {OWN: {"fgari@video": 0.2}}),
        recorded(tmp_path, {OWN: {"fgari@video": 0.6}}, "train.epochs=7"),
    ]
    rows = compared(tmp_path, *runs, capsys=capsys)["rows"]
    assert set(rows) == {"solv · decoder (train.epochs=300)", "solv · decoder (train.epochs=7)"}
    assert [row["values"]["fgari@video"] for row in rows.values()] == [0.2, 0.6]
    assert all(row["spread"] == {"fgari@video": None} and row["runs"] == 1 for row in rows.values())


def test_trivial_rows_on_other_features_are_not_averaged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """k-means depends on features and not on the training."""
    runs = [
        recorded(tmp_path, {"kmeans": {"fgari@video": 0.2}}),
        recorded(tmp_path, {"kmeans": {"fgari@video": 0.2}}, "train.epochs=7"),
        recorded(tmp_path, {"kmeans": {"fgari@video": 0.6}}, "backbone.name=dino_vits16"),
    ]
    rows = compared(tmp_path, *runs, capsys=capsys)["rows"]
    assert {name: row["values"]["fgari@video"] for name, row in rows.items()} == {
        "kmeans (backbone.name=dinov2_vitb14)": 0.2,
        "kmeans (backbone.name=dino_vits16)": 0.6,
    }


def test_vocabularies_tell_named_tubes_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Runs that name have figures that depend on the section label; trivial rows don't."""
    values: Values = {"named": {"corloc@vol": 0.4}, "one": {"corloc@vol": 0.1}}
    runs = [recorded(tmp_path, values, f"label.vocabulary={names}") for names in ("dog", "cat")]
    rows = compared(tmp_path, *runs, capsys=capsys)["rows"]
    names = {f"solv · named (label.vocabulary={name})" for name in ("dog", "cat")}
    assert set(rows) == {"one", *names} and rows["one"]["runs"] == 1


def test_other_protocols_are_marked_and_never_filled_up(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [
        recorded(tmp_path, {OWN: {"fgari@video": 0.2, "mbo@video": 0.4}}, "train.seed=0"),
        recorded(tmp_path, {OWN: {"fgari@video": 0.4, "miou@solv": None}}, "train.seed=1"),
    ]
    result = compared(tmp_path, *runs, capsys=capsys)
    row = result["rows"]["solv · decoder"]
    assert row["values"] == {"fgari@video": pytest.approx(0.3), "mbo@video": 0.4, "miou@solv": None}
    assert row["spread"]["mbo@video"] is None
    assert result["notes"] == [
        f"mbo@video was not measured by {runs[1]}: its means are over the other runs.",
        f"miou@solv was not measured by {runs[0]}: its means are over the other runs.",
    ]
    page = Path(result["page"]).read_text()
    assert all(note in page for note in result["notes"])
    assert "–" in page


def test_other_data_is_refused(tmp_path: Path) -> None:
    runs = [
        recorded(tmp_path, {OWN: {"fgari@video": 0.2}}, data="davis-1a"),
        recorded(tmp_path, {OWN: {"fgari@video": 0.2}}, data="ytvis-2b"),
    ]
    text = refused(tmp_path, *runs)
    assert text.startswith(f"{runs[0]} measured davis-1a and {runs[1]} measured ytvis-2b")
    assert "different data don't compare" in text


def test_grown_data_is_marked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [recorded(tmp_path, {OWN: {"fgari@video": 0.2}}, f"train.seed={n}", videos=n + 3) for n in (0, 1)]
    assert compared(tmp_path, *runs, capsys=capsys)["notes"] == [
        f"The runs scored different numbers of videos: {runs[0]} 3, {runs[1]} 4."
    ]


def test_a_run_named_twice_counts_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Else every deviation would shrink towards 0."""
    run = recorded(tmp_path, {OWN: {"fgari@video": 0.2}})
    result = compared(tmp_path, run, run, capsys=capsys)
    assert result["rows"]["solv · decoder"]["runs"] == 1
    assert result["rows"]["solv · decoder"]["spread"]["fgari@video"] is None
    assert result["notes"] == [f"{run} and {run} have the same figures, which count once."]


def test_runs_that_are_not_there_or_measured_nothing_are_named(tmp_path: Path) -> None:
    run = recorded(tmp_path, {OWN: {"fgari@video": 0.2}})
    assert refused(tmp_path, run, "nosuch").startswith("nosuch: no such run in")
    bare = RunRecord(tmp_path, settings("features", assignments=["data.root=/videos"]))
    bare.close("finished", 0)
    assert refused(tmp_path, run, bare.id).startswith(f"{bare.id} has no metrics: compare runs of recipes")
    killed = tmp_path / "runs" / "killed"
    killed.mkdir()
    (killed / "status.json").write_text("{")
    assert refused(tmp_path, run, "killed").startswith("killed has no metrics")


def test_a_real_run_by_name_by_folder_and_by_its_metrics(
    measured: Measured, capsys: pytest.CaptureFixture[str]
) -> None:
    """Three ways to name the same figures: they are those that the run wrote, and count once."""
    name = measured.result["run"]
    ways = [name, measured.store / "runs" / name, measured.artifact("metrics")]
    result = compared(measured.store, *ways, capsys=capsys)
    found = whole.current(measured.artifact("metrics"))
    assert found is not None
    written = json.loads((found[0] / "metrics.json").read_text())["values"]
    shown = {row.removeprefix("solv · "): entry["values"] for row, entry in result["rows"].items()}
    assert shown == {candidate: pytest.approx(values) for candidate, values in written.items()}
    assert {row["runs"] for row in result["rows"].values()} == {1}
    text = cli.run("compare", *ways[:2], "--set", f"store={measured.store}").stdout
    assert all(protocol in text for protocol in PROTOCOLS)
    assert "nan" not in text.lower()
