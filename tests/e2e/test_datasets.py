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
from stages.catalog.boxes import read_boxes
from stages.features.store.reader import FeatureStore
from tests import cli
from tests.layouts import (
    LETTERBOX,
    expected_ytvis,
    make_davis,
    make_image_folder,
    make_imagenet_vid,
    make_ssv2,
    make_ytvis,
    write_masks,
    ytvis_json,
)
from tests.media import make_video
from tests.test_project import HEAVY, loaded_by
from tests.tfrecords import clip, make_movi, movi_example, shard_path, write_shard

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


def fate(arguments: list[str], video: str) -> tuple[str, str]:
    """What became of a video in the scores, as ``--explain`` says: status and reason."""
    (stages,) = cli.run_json(*arguments, "--explain", video)["videos"].values()
    return stages["scores"][0]["status"], stages["scores"][0]["reason"]


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
        for number in (1, 2):
            assert found[name, number] == pytest.approx((shown == number).mean()), (name, number)


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
    data["annotations"].append({"id": 1, "video_id": 77, "segmentations": [None] * 3})
    (root / "train.json").write_text(json.dumps(data))
    arguments = settings("solv_ytvis", root, "decode.size=[32,48]", "data.scored=train")
    result = cli.run_json(*arguments, code=3)
    found = rejects(result)
    assert {name: (stage, fault) for name, (stage, fault, _) in found.items()} == {
        "gone": ("catalog", "unreadable"),
        "train@json=2377": ("catalog", "annotation"),
        "early": ("scores", "annotation"),
        "large": ("scores", "annotation"),
        "short": ("scores", "annotation"),
    }
    says = {name: message for name, (_, _, message) in found.items()}
    assert "train/JPEGImages/gone: train.json lists this video and its folder is not there" in says["gone"]
    assert "annotations speak of video 77, which videos does not list" in says["train@json=2377"]
    assert "has the frame early/00010.jpg, which is not in its folder" in says["early"]
    assert "frame large/00005.jpg: a mask has 64 x 96 pixels, the frames have 32 x 48" in says["large"]
    assert "has 2 segmentations for the 3 frames of short" in says["short"]
    assert {row["video"].rpartition("+")[2] for row in scores(result)} == {"fine", "gaps", "good"}
    assert totals(result, "scores") == (3, 3, 3)
    assert fate(arguments, "empty") == ("skipped", "the ground truth shows no object in any of its frames")
    assert_finite(table(result), 3, {"decoder", "attention", "one", "blocks", "kmeans"})


# DAVIS

DAVIS = {"decoder", "attention", "one", "centre", "blocks", "kmeans"}
SEQUENCES = ("bear", "camel", "dogs-jump", "gold-fish")


def davis(root: Path, year: str = "2017") -> Path:
    """The four sequences, three in train and one in val; of 2017 half of them with unsupervised masks."""
    lists = {"train": SEQUENCES[:3], "val": SEQUENCES[3:]}
    return make_davis(root, lists, year, SEQUENCES[::2] if year == "2017" else (), frames=FRAMES)


@pytest.mark.parametrize(
    ("year", "assignments", "scored"),
    [("2017", [], 4), ("2017", ["data.annotations=semi", "data.scored=val"], 1), ("2016", [], 4)],
)
def test_davis(tmp_path: Path, year: str, assignments: list[str], scored: int) -> None:
    """Unsupervised masks where there are any, semi-supervised ones if asked for, binary ones of 2016."""
    root = davis(tmp_path / "DAVIS", year)
    result = cli.run_json(*settings("solv_davis", root, "decode.size=[32,48]", *assignments))
    assert totals(result, "features") == (4, 0, 0)
    assert totals(result, "scores") == (scored, 4 - scored, 0)
    assert_finite(table(result), scored, DAVIS)
    catalog = pq.read_table(Path(result["artifacts"]["catalog"], "shards")).to_pylist()
    rules = {row["video"].rpartition("+")[2]: row["truth"] for row in catalog}
    folder = "Annotations_unsupervised/480p" if year == "2017" and not assignments else "Annotations/480p"
    assert rules["gold-fish"] == f"davis{year}:Annotations/480p/gold-fish"
    assert rules["bear"] == (None if scored == 1 else f"davis{year}:{folder}/bear")


def test_davis_annotations_that_do_not_fit(tmp_path: Path) -> None:
    """Masks missing, of another size, of no frame, of no sequence; ids with gaps, frames without objects."""
    names = ("another", "empty", "fine", "gaps", "gone", "missing", "some", "stray")
    root = make_davis(tmp_path / "DAVIS", {"train": names})
    masks = root / "Annotations/480p"
    Image.fromarray(np.ones((16, 24), np.uint8)).save(masks / "another/00001.png")
    write_masks(masks / "empty", np.zeros((3, 32, 48), np.uint8))
    write_masks(
        masks / "gaps", np.repeat([[[200] * 20 + [0] * 8 + [7] * 20]], 3, 0).repeat(32, 1).astype(np.uint8)
    )
    Image.fromarray(np.zeros((32, 48), np.uint8)).save(masks / "some/00001.png")
    (masks / "missing/00002.png").unlink()
    (masks / "stray/00002.png").rename(masks / "stray/00007.png")
    (root / "JPEGImages/480p/gone").rename(tmp_path / "gone")
    write_masks(masks / "nobody", np.ones((3, 32, 48), np.uint8))
    arguments = settings("solv_davis", root, "decode.size=[32,48]")
    result = cli.run_json(*arguments, code=3)
    found = rejects(result)
    assert {name: (stage, fault) for name, (stage, fault, _) in found.items()} == {
        "gone": ("catalog", "unreadable"),
        "nobody": ("catalog", "annotation"),
        "another": ("scores", "annotation"),
        "missing": ("scores", "annotation"),
        "stray": ("scores", "annotation"),
    }
    says = {name: message for name, (_, _, message) in found.items()}
    assert "a list names this sequence and its folder is not there" in says["gone"]
    assert "Annotations/480p/nobody: masks of frames that are not there" in says["nobody"]
    assert "Annotations/480p/another/00001.png: has 16 x 24 pixels" in says["another"]
    assert "Annotations/480p/missing/00002.png: is missing, the mask of frame 2" in says["missing"]
    assert "Annotations/480p/stray/00007.png: is the mask of a frame that is not there" in says["stray"]
    assert {row["video"].rpartition("+")[2] for row in scores(result)} == {"fine", "gaps", "some"}
    shares = {
        row["object"]: row["value"]
        for row in scores(result)
        if row["candidate"] == "one" and row["protocol"] == "mbo@video" and row["video"].endswith("gaps")
    }
    assert fate(arguments, "empty") == ("skipped", "the ground truth shows no object in any of its frames")
    assert shares == {7: pytest.approx(20 / 48), 200: pytest.approx(20 / 48)}, "ids keep their gaps"
    assert_finite(table(result), 3, DAVIS)


@pytest.mark.parametrize(
    ("gone", "says"),
    [
        ("JPEGImages", "has no folder JPEGImages/480p: unpack that part of DAVIS there"),
        ("ImageSets", "is no DAVIS: ImageSets/480p, ImageSets/2016 and ImageSets/2017 are all missing"),
    ],
)
def test_davis_of_which_a_part_is_missing(tmp_path: Path, gone: str, says: str) -> None:
    root = davis(tmp_path / "DAVIS")
    (root / gone).rename(tmp_path / "away")
    (root / "Annotations_unsupervised").rename(tmp_path / "unsupervised")
    assert says in cli.run_json(*settings("solv_davis", root), "--plan", code=2)["error"]


def test_nothing_can_be_scored(tmp_path: Path) -> None:
    """Without annotations nothing is trained; where all of them are broken, the first fault is said."""
    root = davis(tmp_path / "DAVIS")
    (root / "Annotations_unsupervised").rename(tmp_path / "unsupervised")
    masks = root / "Annotations/480p"
    for name in SEQUENCES:
        (masks / name / "00001.png").unlink()
    arguments = settings("solv_davis", root, "decode.size=[32,48]")
    said = cli.run_json(*arguments, code=2)["error"]
    assert "no video has a score: 4 were rejected and 0 skipped" in said
    assert "Annotations/480p/bear/00001.png: is missing, the mask of frame 1" in said
    (root / "Annotations").rename(tmp_path / "away")
    store = tmp_path / "new"
    said = cli.run_json(*arguments, "--set", f"store={store}", code=2)["error"]
    assert "none of the 4 items listed has ground truth, so nothing can be scored" in said
    assert not list(store.glob("model/*"))


# MOVi-E


@pytest.fixture(scope="module")
def movi(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("movi") / "MOVI"
    for split in ("train", "validation", "test"):
        make_movi(root, shards=2, each=2, split=split)
    return root


MOVI = ["decode.size=[32,48]", "solv.slots=4"]


def test_movi_e(movi: Path) -> None:
    """Train is trained on, validation is scored, test is not touched."""
    arguments = settings("solv_movi_e", movi, *MOVI)
    result = cli.run_json(*arguments)
    assert [totals(result, kind) for kind in ("catalog", "features", "tubes", "scores")] == [
        (8, 0, 0), (8, 0, 0), (4, 4, 0), (4, 4, 0),
    ]  # fmt: skip
    assert_finite(table(result), 4, {"decoder", "attention", "one", "blocks", "kmeans"})
    assert all("validation" in row["video"] for row in scores(result))
    model = whole.current(Path(result["artifacts"]["model"]))[0]
    assert json.loads((model / "model.json").read_text())["videos"] == 4
    assert not cli.run_json(*arguments, "--plan")["pending"]


def test_movi_e_with_damage(tmp_path: Path) -> None:
    """A shard that is missing, a file cut off, masks of another size and too few of them."""
    root = tmp_path / "MOVI"
    make_movi(root, shards=3, each=2, split="train")
    shard_path(root, "train", 1, 3).unlink()
    cut = shard_path(root, "train", 2, 3)
    cut.write_bytes(cut.read_bytes()[:-100])
    rgb, ids = clip(1)
    small, few, good = (movi_example(rgb, masks) for masks in (ids[:, ::2, ::2], ids[:20], ids))
    offsets = write_shard(shard_path(root, "validation", 0, 1), [small, few, good])
    result = cli.run_json(*settings("solv_movi_e", root, *MOVI), code=3)
    found = rejects(result)
    said = sorted((stage, fault) for stage, fault, _ in found.values())
    assert said == [
        ("catalog", "truncated"),
        ("catalog", "unreadable"),
        *[("scores", "annotation")] * 2,
    ]
    messages = "\n".join(message for _, _, message in found.values())
    assert "movi_e-train.tfrecord-00001-of-00003: this shard is missing" in messages
    assert "movi_e-train.tfrecord-00002-of-00003#" in messages and "the file ends within this" in messages
    first, second = (f"movi_e-validation.tfrecord-00000-of-00001#{at}: " for at in offsets[:2])
    assert f"{first}the mask of frame 0: has 16 x 24 pixels, the frames of" in messages
    assert f"{second}the feature 'segmentations' has 20 masks for 24 frames" in messages
    assert_finite(table(result), 1, {"decoder", "attention", "one", "blocks", "kmeans"})


def test_movi_e_of_which_a_split_is_missing(tmp_path: Path) -> None:
    make_movi(tmp_path / "MOVI", shards=1, each=1)
    said = cli.run_json(*settings("solv_movi_e", tmp_path / "MOVI"), "--plan", code=2)["error"]
    assert "has no 'train' for data.split=train+validation; it has validation, all" in said


# folders of videos


def test_videos_with_masks_beside_them(tmp_path: Path) -> None:
    """Masks by order, for every frame that is sampled, here every second one."""
    root = tmp_path / "videos"
    for number, name in enumerate(("one", "two"), start=1):
        make_video(root / f"{name}.mp4", frames=FRAMES, fps=10)
        write_masks(root / "Annotations" / name, np.full((FRAMES, 48, 64), number * 60, np.uint8))
    sampled = ["data.kind=folder", "decode.size=[48,64]", "decode.fps=5", "data.mask_values=binary"]
    result = cli.run_json(*settings("solv_davis", root, *sampled))
    assert totals(result, "scores") == (2, 0, 0)
    assert result["totals"]["features"]["frames"] == 2 * FRAMES // 2
    whole_frame = [
        r["value"] for r in scores(result) if (r["candidate"], r["protocol"]) == ("one", "mbo@video")
    ]
    assert whole_frame == [1.0, 1.0]


# data sets of boxes, and without ground truth: as far as features


def features_of(kind: str, root: Path, *assignments: str) -> dict[str, Any]:
    """The result of the recipe ``features`` with the kind's own settings."""
    return cli.run_json(*settings("features", root, f"data.kind={kind}", *assignments), "--max-failed", "1")


def test_imagenet_vid(tmp_path: Path) -> None:
    """Snippets and folders of frames in one run: every frame of both, and boxes by the catalog's row."""
    root = make_imagenet_vid(tmp_path / "VID", ["ILSVRC2015_VID_train_0000/s0"], ["v0", "v1"], frames=FRAMES)
    (root / "Data/VID/val/v1/000003.JPEG").write_bytes(b"no image")
    result = features_of("imagenet_vid", root, "decode.size=[32,48]")
    assert totals(result, "catalog") == (3, 0, 0) and totals(result, "features") == (2, 0, 1)
    assert result["totals"]["features"]["frames"] == 2 * FRAMES
    rows = pq.read_table(Path(result["artifacts"]["catalog"], "shards")).to_pylist()
    (row,) = [row for row in rows if row["uri"] == "Data/VID/val/v0"]
    found = read_boxes(str(root), row, range(row["frames"]))
    assert [len(frame.boxes) for frame in found.frames] == [1] + [2] * (FRAMES - 1)
    assert {found.names[n] for frame in found.frames for n in frame.classes} == {"dog", "domestic_cat"}
    ((stage, fault, said),) = rejects(result).values()
    assert (stage, fault) == ("features", "decode_error") and "v1: the image 000003.JPEG is broken" in said


def test_ssv2(tmp_path: Path) -> None:
    root = make_ssv2(tmp_path / "SSV2", train=["101", "102"], validation=["7"])
    (root / "20bn-something-something-v2/102.webm").unlink()
    result = features_of("ssv2", root, "data.split=train", "decode.size=[32,48]")
    assert totals(result, "features") == (1, 1, 0) and result["totals"]["features"]["frames"] == 4
    ((stage, fault, said),) = rejects(result).values()
    assert (stage, fault) == ("catalog", "unreadable") and "102.webm: a list names this video" in said


def test_image_folder(tmp_path: Path) -> None:
    """Pictures of one pixel and of extreme aspect are frames like any other, at the kind's own size."""
    pictures = {"train/n01/a.JPEG": (30, 40), "train/n02/b.JPEG": (1, 1), "train/n02/c.JPEG": (1, 900)}
    result = features_of("image_folder", make_image_folder(tmp_path / "ILSVRC", pictures))
    assert totals(result, "features") == (3, 0, 0) and result["totals"]["features"]["frames"] == 3
    store = FeatureStore(result["artifacts"]["features"])
    assert {store.shape(video) for video in store.videos} == {(1, 28 * 28, 14)}


# all


@pytest.mark.parametrize("recipe", ["solv_ytvis", "solv_davis", "solv_movi_e"])
def test_plans_are_light(recipe: str, ytvis: Path, movi: Path, tmp_path: Path) -> None:
    """With the published settings: what would run, without torch, ray or a decoder."""
    roots = {"solv_ytvis": ytvis, "solv_movi_e": movi, "solv_davis": tmp_path / "DAVIS"}
    if recipe == "solv_davis":
        davis(roots[recipe])
    where = ["--set", f"data.root={roots[recipe]}", "--set", f"store={tmp_path / 'new'}"]
    assert loaded_by(recipe, *where, "--plan", cwd=tmp_path) & HEAVY == set()
    plan = cli.run_json(recipe, *where, "--plan")
    assert (
        plan["pending"] and plan["listed"] == {"solv_ytvis": 900, "solv_davis": 4, "solv_movi_e": 8}[recipe]
    )
