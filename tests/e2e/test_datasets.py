"""The recipes of the data sets, from the layouts as they are downloaded to the table of metrics."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from stages.artifacts import whole
from tests import cli
from tests.layouts import LETTERBOX, expected_ytvis, make_davis, make_ytvis, write_masks, ytvis_json
from tests.test_project import HEAVY, loaded_by
from tests.tfrecords import make_movi, movi_example, shard_path, write_shard

SIZE = (64, 96)
FRAMES = 6
TINY = [
    *("--set", "backbone={name: patchstats, stride: 8, facets: [tokens, rgb]}"),
    *("--set", "solv.slot_width=16", "--set", "solv.hidden=16", "--set", "solv.decoder=[16]"),
    *("--set", "solv.temporal_heads=2", "--set", "solv.temporal_layers=1", "--set", "train.steps=4"),
    *("--set", "train.batch=4", "--set", "kmeans.clusters=4", "--set", "blocks.clusters=4"),
    *("--runner", "local"),
]
"""Widths and steps that take no time; the code that runs is that of the published settings."""


def settings(recipe: str, root: Path, *assignments: str) -> list[str]:
    """Arguments of a recipe on the data set below ``root``; the store lies beside it."""
    places = [f"data.root={root}", "data.name=tiny", f"store={root.parent / 'store'}"]
    return [recipe, *TINY, *(part for s in (*places, *assignments) for part in ("--set", s))]


def table(result: dict[str, Any]) -> dict[str, Any]:
    """The content of ``metrics.json``."""
    folder = whole.current(Path(result["artifacts"]["metrics"]))[0]
    return json.loads((folder / "metrics.json").read_text())


def scores(result: dict[str, Any]) -> list[dict[str, Any]]:
    """Rows of all shards of scores."""
    return pq.read_table(Path(result["artifacts"]["scores"], "shards")).to_pylist()


def rejects(result: dict[str, Any]) -> dict[str, tuple[str, str, str]]:
    """By the last part of a video's id: stage, error class and message."""
    found = pq.read_table(whole.current(Path(result["artifacts"]["summary"]))[0] / "rejects.parquet")
    return {
        row["video"].rpartition("+")[2]: (row["stage"], row["error_class"], row["message"])
        for row in found.to_pylist()
    }


def assert_finite(content: dict[str, Any], videos: int, candidates: set[str]) -> None:
    assert content["videos"] == videos
    assert set(content["values"]) == candidates
    for candidate, values in content["values"].items():
        for protocol, value in values.items():
            assert value is not None and np.isfinite(value) and -1 <= value <= 1, (candidate, protocol)


def totals(result: dict[str, Any], kind: str) -> tuple[int, int, int]:
    counts = result["totals"][kind]
    return counts["done"], counts["skipped"], counts["rejected"]


# YouTube-VIS

FEW = ("b0", "b1", "b2", "b3")
SCORED = ("a0", "a1", "a2", "a3")


@pytest.fixture(scope="module")
def ytvis(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """train.json with its 900 videos, frames of those that come first by name: four of 600..899, four not."""
    root = tmp_path_factory.mktemp("ytvis") / "YTVIS"
    names = [f"z{n:04d}" for n in range(900)]
    names[10:14], names[700:704] = FEW, SCORED
    make_ytvis(root, {"train": dict.fromkeys((*FEW, *SCORED), FRAMES)}, size=SIZE, borders=["a1"])
    data = ytvis_json(dict.fromkeys((*FEW, *SCORED), FRAMES), SIZE, form="compressed")
    entries = {entry["file_names"][0].partition("/")[0]: entry for entry in data["videos"]}
    other = {"height": SIZE[0], "width": SIZE[1], "length": 1}
    gap = 5  # ids of videos and annotations are no places in lists
    for order, name in enumerate(names):
        entry = entries.setdefault(name, {**other, "file_names": [f"{name}/00000.jpg"]})
        old, entry["id"] = entry.get("id"), 1000 + gap * order
        for annotation in data["annotations"] if old is not None else ():
            if annotation["video_id"] == old:
                annotation["video_id"] = entry["id"]
    data["videos"] = [entries[name] for name in names]
    (root / "train.json").write_text(json.dumps(data))
    return root


@pytest.fixture(scope="module")
def ytvis_run(ytvis: Path) -> tuple[list[str], dict[str, Any]]:
    arguments = [*settings("solv_ytvis", ytvis, f"decode.size={list(SIZE)}"), "--limit", "8"]
    return arguments, cli.run_json(*arguments)


def test_ytvis(ytvis_run: tuple[list[str], dict[str, Any]]) -> None:
    """All videos train, those of the split of 300 are scored, and nothing is rejected."""
    arguments, result = ytvis_run
    assert [totals(result, kind) for kind in ("catalog", "features", "tubes", "scores")] == [
        (8, 0, 0), (8, 0, 0), (4, 4, 0), (4, 4, 0),
    ]  # fmt: skip
    assert_finite(table(result), 4, {"decoder", "attention", "one", "blocks", "kmeans"})
    assert {row["video"].rpartition("+")[2] for row in scores(result)} == set(SCORED)
    model = whole.current(Path(result["artifacts"]["model"]))[0]
    assert json.loads((model / "model.json").read_text())["videos"] == 8
    assert not cli.run_json(*arguments, "--plan")["pending"]


def test_ytvis_borders_are_cut_off_frames_and_masks_alike(
    ytvis_run: tuple[list[str], dict[str, Any]],
) -> None:
    """One segment over the picture without its bars: its overlap with an object is counted by hand."""
    found = {
        (row["video"].rpartition("+")[2], row["object"]): row["value"]
        for row in scores(ytvis_run[1])
        if (row["candidate"], row["protocol"]) == ("one", "mbo@video")
    }
    ids = expected_ytvis(FRAMES, SIZE)
    for name, shown in (("a0", ids), ("a1", ids[:, LETTERBOX:-LETTERBOX])):
        shares = [(shown == number).mean() for number in (1, 2)]
        mine = [value for (video, _), value in found.items() if video == name]
        assert mine == pytest.approx(shares if len(mine) == 2 else [np.mean(shares)]), name


def test_ytvis_the_300_may_be_left_out_of_training(ytvis_run: tuple[list[str], dict[str, Any]]) -> None:
    arguments, before = ytvis_run
    result = cli.run_json(*arguments, "--set", "train.exclude_annotated=true")
    assert result["artifacts"]["features"] == before["artifacts"]["features"]
    model = whole.current(Path(result["artifacts"]["model"]))[0]
    assert json.loads((model / "model.json").read_text())["videos"] == 4
    assert_finite(table(result), 4, {"decoder", "attention", "one", "blocks", "kmeans"})


def test_ytvis_of_which_a_part_is_there(tmp_path: Path) -> None:
    """A sentence with the file's name and what to do, before anything runs."""
    root = make_ytvis(tmp_path / "YTVIS", {"train": {"a": 3}})
    said = cli.run_json(*settings("solv_ytvis", root), "--plan", code=2)["error"]
    assert "train.json under data.root=" in said and "lists 1 videos" in said and "data.scored" in said
    (root / "train.json").unlink()
    said = cli.run_json(*settings("solv_ytvis", root), "--plan", code=2)["error"]
    assert "has no JSON of the split train (looked for train.json, train/train.json" in said


def test_ytvis_annotations_that_do_not_fit(tmp_path: Path) -> None:
    """Every fault is a reject of its video by name; the others are scored, and no row stands for a fault."""
    names = ("early", "empty", "fine", "gaps", "good", "gone", "large", "short")
    root = make_ytvis(tmp_path / "YTVIS", {"train": dict.fromkeys(names, 3)})
    data = json.loads((root / "train.json").read_text())
    number = {entry["file_names"][0].partition("/")[0]: entry["id"] for entry in data["videos"]}
    tracks = {name: [a for a in data["annotations"] if a["video_id"] == n] for name, n in number.items()}
    for track in tracks["empty"]:
        track["segmentations"] = [None] * 3
    for order, track in enumerate(tracks["gaps"]):
        track["id"] = 5000 - 77 * order
    tracks["large"][0]["segmentations"][1]["size"] = [64, 96]
    tracks["short"][0]["segmentations"].pop()
    (root / "train/JPEGImages/gone").rename(tmp_path / "gone")
    (root / "train/JPEGImages/early/00010.jpg").unlink()
    data["annotations"][0] = {**data["annotations"][0], "video_id": 77}
    lost = {v: k for k, v in number.items()}[json.loads((root / "train.json").read_text())["annotations"][0]["video_id"]]
    (root / "train.json").write_text(json.dumps(data))
    arguments = settings("solv_ytvis", root, "decode.size=[32,48]", "data.scored=train")
    result = cli.run_json(*arguments, "--max-failed", "90%")
    print(json.dumps(rejects(result), indent=1), lost, table(result)["videos"])
    for row in scores(result):
        print(row)
    assert 0
