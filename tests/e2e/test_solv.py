"""The whole flow on sprites: features, SOLV, tubes, scores, tables, the page; then nothing is left to do."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from stages.artifacts import whole
from stages.tubes.reader import TubeStore
from tests.cli import run, run_json

SMALL = [
    "solv_ytvis",
    *("--set", "data.kind=sprites", "--set", "data.name=sprites", "--set", "decode.crop=none"),
    *("--set", "data.sprites={level: L0, count: 24, frames: 8, size: [64, 64]}"),
    *(
        "--set",
        "backbone={name: patchstats, stride: 4, facets: [tokens, rgb]}",
        "--set",
        "decode.size=[64,64]",
    ),
    *(
        "--set",
        "solv={slots: 7, slot_width: 16, hidden: 16, temporal_heads: 2, temporal_layers: 1, decoder: [16]}",
    ),
    *("--set", "train={steps: 6, batch: 4}"),
    *("--set", "kmeans={facet: rgb, position: 0.3, clusters: 7}", "--set", "blocks.clusters=7"),
    *("--set", "metrics.protocols=[fgari@video,mbo@video,miou@solv,fgari@solv]"),
    *("--runner", "local"),
]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("solv")
    where = ["--set", f"data.root={folder / 'videos'}", "--set", f"store={folder / 'store'}"]
    return folder, [*SMALL, *where], run_json(*SMALL, *where)


def metrics(result):
    found = whole.current(Path(result["artifacts"]["metrics"]))
    return json.loads((found[0] / "metrics.json").read_text())


def test_smoke_on_the_easy_level(finished):
    """k-means has to solve flat sprites, read from H.264; SOLV's flow has to be finite and valid."""
    content = metrics(finished[2])
    assert content["videos"] == 24
    assert list(content["values"]) == ["decoder", "attention", "one", "blocks", "kmeans"]
    for values in content["values"].values():
        assert all(value is not None and np.isfinite(value) and -1 <= value <= 1 for value in values.values())
    assert content["values"]["kmeans"]["fgari@video"] > 0.55
    assert content["values"]["kmeans"]["mbo@video"] > 0.45


def test_tubes_partition_every_frame(finished):
    store = TubeStore(finished[2]["artifacts"]["tubes"])
    assert store.kinds() == ("decoder", "attention")
    for video in store.videos():
        for kind in store.kinds():
            labels = store.label_map(video, kind)
            assert labels.shape == (8, 64, 64)
            assert labels.min() >= 0
            assert labels.max() < 7


def test_tables_and_curves_are_there(finished):
    artifacts = {kind: Path(folder) for kind, folder in finished[2]["artifacts"].items()}
    tables = whole.current(artifacts["metrics"])[0]
    per_video = pq.read_table(tables / "per_video.parquet")
    assert per_video.num_rows == 24 * 5 * 4
    per_object = pq.read_table(tables / "per_object.parquet")
    assert set(per_object["protocol"].to_pylist()) >= {"miou@solv"}
    history = pq.read_table(whole.current(artifacts["model"])[0] / "history.parquet")
    assert history.filter(np.array(history["name"].to_pylist()) == "loss").num_rows == 6
    page = whole.current(artifacts["report"])[0] / "report.html"
    assert "published" in page.read_text()


def test_a_second_run_has_nothing_to_do(finished):
    plan = run_json(*finished[1], "--plan")
    assert not plan["pending"]
    assert "nothing to do" in run(*finished[1]).stdout


def test_another_threshold_keeps_features_and_an_option_of_segmentation_keeps_the_model(finished):
    plan = {
        s["kind"]: s for s in run_json(*finished[1], "--set", "solv.always_match=true", "--plan")["stages"]
    }
    assert plan["features"]["todo"] == 0
    assert plan["model"]["todo"] == 0
    assert plan["tubes"]["todo"] == 24
    plan = {
        s["kind"]: s for s in run_json(*finished[1], "--set", "solv.merge_threshold=0.2", "--plan")["stages"]
    }
    assert plan["features"]["todo"] == 0
    assert plan["model"]["todo"] == 1


def test_a_model_of_a_limited_run_does_not_stand_for_the_whole(finished):
    folder, arguments, _ = finished
    other = [*arguments, "--set", f"store={folder / 'grown'}"]
    run_json(*other, "--limit", 6)
    plan = {s["kind"]: s for s in run_json(*other, "--plan")["stages"]}
    assert plan["model"]["todo"] == 1, "a model of --limit must not stand for the whole"


def test_segment_with_the_trained_model(finished):
    folder, _, before = finished
    arguments = [
        "segment",
        "--set",
        f"model={before['artifacts']['model']}",
        "--set",
        f"data.root={folder / 'videos'}",
    ]
    arguments += ["--set", f"store={folder / 'segmented'}", "--runner", "local"]
    result = run_json(*arguments)
    assert result["totals"]["tubes"]["done"] == 24
    first = TubeStore(result["artifacts"]["tubes"])
    again = TubeStore(before["artifacts"]["tubes"])
    for mine, theirs in zip(first.videos(), again.videos(), strict=True):
        assert (first.label_map(mine, "decoder") == again.label_map(theirs, "decoder")).all()
    refused = run(*arguments, "--set", "backbone.stride=8", code=2)
    assert "was trained on other features" in refused.stderr
    refused = run("segment", "--set", f"data.root={folder / 'videos'}", "--runner", "local", code=2)
    assert "needs a trained model" in refused.stderr


def test_segment_without_training(finished):
    folder = finished[0]
    result = run_json(
        *("segment", "--set", "method.name=kmeans", "--set", f"data.root={folder / 'videos'}"),
        *("--set", f"store={folder / 'kmeans'}", "--set", "decode.size=[64,64]", "--runner", "local"),
    )
    assert TubeStore(result["artifacts"]["tubes"]).kinds() == ("cluster",)
    assert "model" not in result["artifacts"]


def test_compare(finished):
    folder, arguments, before = finished
    other = run_json(*arguments, "--set", "train.seed=1")
    store = ["--set", f"store={folder / 'store'}"]
    result = run_json("compare", before["run"], other["run"], *store)
    assert [row["runs"] for row in result["rows"]] == [2] * 5
    assert Path(result["page"]).read_text().startswith("<!doctype html>")
    assert "takes two or more runs" in run("compare", before["run"], code=2).stderr
    assert "no such run" in run("compare", "a", "b", *store, code=2).stderr


def test_tubes_are_exported_where_asked_for(finished):
    result = run_json(*finished[1], "--set", "tubes.export=ytvis", "--set", "tubes.export_masks=attention")
    exported = whole.current(Path(result["artifacts"]["export"]))[0]
    videos = json.loads((exported / "instances.json").read_text())["videos"]
    assert len(videos) == 24
    assert json.loads((exported / "results.json").read_text())
    result = run_json(*finished[1], "--set", "tubes.export=png")
    pictures = whole.current(Path(result["artifacts"]["export"]))[0]
    assert len(list(pictures.rglob("*.png"))) == 24 * 8
    refused = run(*finished[1], "--set", "tubes.export=png", "--set", "tubes.export_masks=soft", code=2)
    assert "has masks of the kinds decoder, attention" in refused.stderr
