"""YouTube-VIS: splits, what is listed, where ground truth lies, and what is missing where."""

import json

import numpy as np
import pytest

from stages.catalog.errors import CatalogError
from stages.catalog.ids import uri_of
from stages.catalog.listing import identity, list_items
from stages.catalog.spec import DataSpec
from stages.catalog.truth import read_truth
from stages.catalog.ytvis import YtvisSet
from stages.outcome import Done, Rejected
from tests.layouts import expected_ytvis, make_ytvis, ytvis_json
from tests.stages.catalog.test_stage import run

SPLITS = {"train": {"0043f083b5": 3, "b2": 2}, "valid": {"v1": 2}, "test": {"t1": 2}}


def spec(**settings):
    return DataSpec(kind="ytvis", **settings)


def uris(root, **settings):
    return [row["uri"] for row in list_items(spec(**settings), str(root))]


def truth(root, uri, **settings):
    return YtvisSet(spec(**settings), str(root)).truth(uri)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return make_ytvis(tmp_path_factory.mktemp("ytvis"), SPLITS, pngs=["b2"])


def long_json(root, count):
    """A train.json of ``count`` videos without any frames on disk."""
    (root / "train/JPEGImages").mkdir(parents=True)
    data = ytvis_json({f"video{i:04d}": 1 for i in range(count)}, size=(4, 6))
    data["annotations"] = [
        {"id": v["id"], "video_id": v["id"], "segmentations": [None]} for v in data["videos"]
    ]
    (root / "train.json").write_text(json.dumps(data))
    return root


def test_splits(root):
    assert uris(root) == [
        "test/JPEGImages/t1", "train/JPEGImages/0043f083b5", "train/JPEGImages/b2", "valid/JPEGImages/v1"
    ]  # fmt: skip
    assert uris(root, split="train+valid+test") == uris(root, split="all") == uris(root)
    assert uris(root, split="valid") == ["valid/JPEGImages/v1"]
    rows = list_items(spec(split="train"), str(root))
    assert [row["bytes"] for row in rows] == [
        sum(f.stat().st_size for f in (root / row["uri"]).iterdir()) for row in rows
    ]


def test_the_json_may_lie_in_the_folder_of_its_split(tmp_path):
    make_ytvis(tmp_path, SPLITS, inside=True)
    assert len(uris(tmp_path)) == 4
    assert truth(tmp_path, "train/JPEGImages/b2") == "ytvis:train/train.json#2"


def test_where_ground_truth_lies(root):
    assert truth(root, "train/JPEGImages/0043f083b5") == "ytvis:train.json#1"
    assert truth(root, "train/JPEGImages/b2") == "ytvis-png:train/Annotations/b2"
    assert truth(root, "train/JPEGImages/b2", annotations="json") == "ytvis:train.json#2"
    missing = truth(root, "train/JPEGImages/0043f083b5", annotations="png")
    assert missing == "ytvis-png:train/Annotations/0043f083b5", "scoring rejects it"
    assert truth(root, "valid/JPEGImages/v1", annotations="png") is None
    assert truth(root, "valid/JPEGImages/v1") is truth(root, "test/JPEGImages/t1") is None


def test_the_300(tmp_path):
    long_json(tmp_path, 905)
    names = [f"train/JPEGImages/video{i:04d}" for i in range(905)]
    assert uris(tmp_path, split="solv300") == names[600:900]
    rest = names[:600] + names[900:]
    assert uris(tmp_path, split="solv-train") == uris(tmp_path, split="train", exclude_eval=True) == rest
    assert uris(tmp_path, split="solv-train+solv300") == uris(tmp_path, split="train") == names
    settings = {"split": "train", "scored": "solv300"}
    assert len(uris(tmp_path, **settings)) == 905
    assert truth(tmp_path, names[600], **settings) == "ytvis:train.json#601"
    assert truth(tmp_path, names[599], **settings) is truth(tmp_path, names[900], **settings) is None


def test_the_300_need_the_whole_file(tmp_path):
    long_json(tmp_path, 899)
    for settings in ({"split": "solv300"}, {"exclude_eval": True}, {"scored": "solv300"}):
        with pytest.raises(CatalogError, match="train.json .*lists 899 videos; the split of 300"):
            uris(tmp_path, **settings)


def test_what_is_scored_must_be_listed(root):
    with pytest.raises(CatalogError, match="data.scored=valid has no video .*data.split=train"):
        uris(root, split="train", scored="valid")


def test_settings_that_decide_what_is_said():
    changes = {"split": "train", "scored": "valid", "exclude_eval": True, "annotations": "png", "fps": 6}
    assert len({str(identity(spec()))} | {str(identity(spec(**{k: v}))) for k, v in changes.items()}) == 6
    with pytest.raises(ValueError, match="data.annotations=semi.*auto, json, png"):
        spec(annotations="semi")


@pytest.mark.parametrize(
    ("breaking", "says"),
    [
        (
            lambda root: (root / "train.json").unlink(),
            r"no JSON of the split train .*train\.json, train/train\.json",
        ),
        (lambda root: (root / "train.json").write_text("{"), r"train\.json: is no JSON"),
        (lambda root: (root / "train/JPEGImages").rename(root / "x"), "no folder train/JPEGImages"),
    ],
)
def test_missing_pieces(tmp_path, breaking, says):
    make_ytvis(tmp_path, {"train": {"a": 2}})
    breaking(tmp_path)
    with pytest.raises(CatalogError, match=says):
        uris(tmp_path, split="train")


def test_unknown_splits(root):
    with pytest.raises(
        CatalogError, match="'val' for data.split=train.val; it has train, valid, test, solv300"
    ):
        uris(root, split="train+val")
    with pytest.raises(CatalogError, match="'val' for data.scored=val"):
        uris(root, scored="val")
    with pytest.raises(CatalogError, match="does not exist"):
        uris(root / "nowhere")


def test_the_catalog_accounts_for_everything(tmp_path):
    """A listed video without folder, annotations without video, a folder that the JSON doesn't list."""
    root = make_ytvis(tmp_path / "root", {"train": {"a": 3, "gone": 2, "b": 2}})
    (root / "train/JPEGImages/gone").rename(root / "train/JPEGImages/new")
    data = json.loads((root / "train.json").read_text())
    data["annotations"][0]["video_id"] = 77
    (root / "train.json").write_text(json.dumps(data))
    outcomes, rows = run(tmp_path, spec(fps=6), root)
    rejects = {uri_of(o.video): (o.error_class, o.message) for o in outcomes if isinstance(o, Rejected)}
    assert rejects == {
        "train/JPEGImages/gone": (
            "unreadable",
            "train/JPEGImages/gone: train.json lists this video and its folder is not there: "
            "unpack its frames again",
        ),
        "train.json%2377": (
            "annotation",
            "train.json: annotations speak of video 77, which videos does not list: "
            "add its entry or take them out",
        ),
    }
    assert [(row["uri"], row["frames"], row["fps"], row["truth"]) for row in rows] == [
        ("train/JPEGImages/a", 3, 6.0, "ytvis:train.json#1"),
        ("train/JPEGImages/b", 2, 6.0, "ytvis:train.json#3"),
        ("train/JPEGImages/new", 2, 6.0, None),
    ]
    assert sum(isinstance(o, Done) for o in outcomes) == 3


@pytest.mark.parametrize("form", ["runs", "compressed", "polygons"])
def test_from_the_catalog_to_id_maps(tmp_path, form):
    root = make_ytvis(tmp_path / "root", {"train": {"a": 4}}, form=form)
    _, (row,) = run(tmp_path, spec(), root)
    found = read_truth(str(root), row, [0, 2, 3])
    assert found.ids.dtype == np.uint16 and found.void is None
    np.testing.assert_array_equal(found.ids, expected_ytvis(4)[[0, 2, 3]])
