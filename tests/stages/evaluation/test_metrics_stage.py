"""Tables of scores: pooled as the protocols say, checked by hand and on a real small run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages.artifacts import whole
from stages.evaluation.metrics_stage import MetricsStage, figures, per_video
from stages.evaluation.score_rows import ROWS_SCHEMA, current_scores
from stages.metrics.protocols import PROTOCOLS as ALL
from stages.stage import WorkContext
from tests import cli
from tests import measured as runs
from tests.measured import PROTOCOLS, Measured

Scores = list[tuple[str, str, str, int | None, float]]


@pytest.fixture(scope="module")
def tables(measured: Measured) -> Path:
    found = whole.current(measured.artifact("metrics"))
    assert found is not None
    return found[0]


def table(rows: Scores) -> pa.Table:
    return pa.Table.from_pylist(
        [dict(zip(ROWS_SCHEMA.names, row, strict=True)) for row in rows], schema=ROWS_SCHEMA
    )


BY_HAND: Scores = [
    ("a", "one", "miou@solv", 1, 0.2),
    ("a", "one", "miou@solv", 2, 0.4),
    ("b", "one", "miou@solv", 1, 0.9),
    ("a", "one", "mbo@video", 1, 0.2),
    ("a", "one", "mbo@video", 2, 0.4),
    ("b", "one", "mbo@video", 1, 0.9),
    ("a", "one", "fgari@video", None, 0.5),
    ("b", "attention", "fgari@video", None, -0.1),
]


def test_objects_and_videos_are_pooled_as_the_protocol_says() -> None:
    assert (ALL["miou@solv"].pool, ALL["mbo@video"].pool) == ("objects", "videos")
    found = figures(table(BY_HAND), ["miou@solv", "mbo@video", "fgari@video", "j@davis16-oracle"])
    assert list(found) == ["one", "attention"]
    assert found["one"]["miou@solv"] == pytest.approx((0.2 + 0.4 + 0.9) / 3)
    assert found["one"]["mbo@video"] == pytest.approx((0.3 + 0.9) / 2)
    assert found["one"]["fgari@video"] == 0.5
    assert found["attention"]["fgari@video"] == -0.1


def test_a_protocol_without_a_video_has_no_figure_and_no_zero() -> None:
    found = figures(table(BY_HAND), ["miou@solv", "j@davis16-oracle"])
    assert found["one"]["j@davis16-oracle"] is None
    assert found["attention"] == {"miou@solv": None, "j@davis16-oracle": None}


def test_a_row_per_video_is_the_mean_over_its_objects() -> None:
    rows = per_video(table(BY_HAND)).to_pylist()
    assert len(rows) == 6
    assert [row["video"] for row in rows] == sorted(row["video"] for row in rows)
    found = {(r["video"], r["candidate"], r["protocol"]): r["value"] for r in rows}
    assert found["a", "one", "miou@solv"] == pytest.approx(0.3)
    assert ("b", "one", "fgari@video") not in found


def test_the_written_figures_are_the_means_of_the_scores(measured: Measured, tables: Path) -> None:
    """Recomputed in NumPy from the rows of the scores artifact."""
    content = json.loads((tables / "metrics.json").read_text())
    assert content["protocols"] == list(PROTOCOLS)
    assert content["primary"] == "miou@solv"
    assert content["videos"] == len(runs.GOOD)
    assert list(content["values"]) == ["decoder", "attention", "one", "blocks", "kmeans"]
    rows = current_scores(measured.artifact("scores")).to_pylist()
    for candidate, values in content["values"].items():
        assert list(values) == list(PROTOCOLS)
        for name, value in values.items():
            mine = [r for r in rows if (r["candidate"], r["protocol"]) == (candidate, name)]
            groups = {r["video"]: [s["value"] for s in mine if s["video"] == r["video"]] for r in mine}
            pooled = [np.mean(group) for group in groups.values()]
            if ALL[name].pool == "objects":
                pooled = [r["value"] for r in mine]
            assert value == pytest.approx(float(np.mean(pooled)), abs=1e-12), (candidate, name)


def test_objects_have_a_table_of_their_own(measured: Measured, tables: Path) -> None:
    objects = pq.read_table(tables / "per_object.parquet")
    assert objects.num_rows > 0
    assert objects["object"].null_count == 0
    every = current_scores(measured.artifact("scores"))
    assert objects.num_rows == every.num_rows - every["object"].null_count
    videos = pq.read_table(tables / "per_video.parquet")
    keys = {tuple(r[k] for k in ("video", "candidate", "protocol")) for r in every.to_pylist()}
    assert videos.num_rows == len(keys)


def test_an_unmeasured_primary_gives_way_to_the_first_protocol(measured: Measured, tmp_path: Path) -> None:
    context = WorkContext(".", tmp_path, inputs={"scores": str(measured.artifact("scores"))})
    MetricsStage(("mbo@video", "mbo@frame"), "miou@solv").make((), tmp_path, context)
    content: dict[str, Any] = json.loads((tmp_path / "metrics.json").read_text())
    assert content["primary"] == "mbo@video"
    assert set(content["values"]["one"]) == {"mbo@video", "mbo@frame"}


def test_a_run_whose_videos_are_all_rejected_says_so(tmp_path: Path) -> None:
    """Nothing is left after rejects and skips: a sentence with counts and a reason, no empty table."""
    data = runs.make_data(tmp_path / "videos")
    for name in (*runs.GOOD, "bare"):
        (data / f"{name}.mp4").unlink()
    done = cli.run(*runs.arguments(data, tmp_path / "store"), code=2, OMP_NUM_THREADS="1")
    assert "no video has a score: 1 were rejected and" in done.stderr
    assert "16 x 24 pixels" in done.stderr and "--retry-failed" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list((tmp_path / "store").glob("metrics/*/*/metrics.json"))
