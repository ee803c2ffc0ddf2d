"""ImageNet-VID: splits, what is listed, and what is missing where."""

import shutil

import pytest

from stages.catalog.errors import CatalogError
from stages.catalog.imagenet_vid import ImagenetVidSet
from stages.catalog.listing import list_items
from stages.catalog.spec import DataSpec
from stages.outcome import Done, Rejected
from tests.layouts import make_imagenet_vid
from tests.stages.catalog.test_stage import run

SNIPPETS = ["ILSVRC2015_VID_train_0000/a", "ILSVRC2015_VID_train_0001/b"]
TRAIN = [f"Data/VID/snippets/train/{name}.mp4" for name in SNIPPETS]
VAL = ["Data/VID/val/v0", "Data/VID/val/v1"]


def spec(**settings):
    return DataSpec(kind="imagenet_vid", **settings)


def uris(root, **settings):
    return [row["uri"] for row in list_items(spec(**settings), str(root))]


@pytest.fixture
def root(tmp_path):
    return make_imagenet_vid(tmp_path / "VID", SNIPPETS, ["v0", "v1"], frames=2)


def test_splits(root):
    assert uris(root) == uris(root, split="val+train") == uris(root, split="all") == TRAIN + VAL
    assert (uris(root, split="train"), uris(root, split="val")) == (TRAIN, VAL)
    (root / "Data/VID/snippets/train/ILSVRC2015_VID_train_0000/notes.txt").write_text("none")
    assert uris(root, split="train") == TRAIN
    (row,) = [row for row in list_items(spec(), str(root)) if row["uri"] == TRAIN[0]]
    assert row["bytes"] == (root / TRAIN[0]).stat().st_size
    shutil.rmtree(root / "Data/VID/snippets")
    assert uris(root) == VAL


def test_snippets_have_a_clock_of_their_own_and_frames_that_of_the_settings(tmp_path, root):
    (root / "Annotations/VID/val/lost").mkdir()
    (root / "Data/VID/snippets/train/ILSVRC2015_VID_train_0002").mkdir()
    outcomes, rows = run(tmp_path, spec(fps=30.0), root)
    assert [(row["uri"], row["frames"], row["fps"], row["truth"]) for row in rows] == [
        *((uri, 2, pytest.approx(10), None) for uri in TRAIN),
        *((uri, 2, 30.0, f"imagenet_vid:Annotations/VID/val/{uri[-2:]}") for uri in VAL),
    ]
    assert sum(isinstance(o, Done) for o in outcomes) == 4
    said = {o.error_class: o.message for o in outcomes if isinstance(o, Rejected)}
    lost = "boxes of frames that are not there: unpack Data/VID/val/lost or remove them"
    assert said["annotation"] == f"Annotations/VID/val/lost: {lost}"
    assert "ILSVRC2015_VID_train_0002: is an empty folder" in said["not_media"]


def test_ground_truth(root):
    shutil.rmtree(root / "Annotations/VID/val/v1")
    found = ImagenetVidSet(spec(), str(root))
    assert found.truth(VAL[1]) == "imagenet_vid:Annotations/VID/val/v1", "scoring rejects it"
    assert found.truth(TRAIN[0]) is None
    shutil.rmtree(root / "Annotations")
    assert ImagenetVidSet(spec(), str(root)).truth(VAL[1]) is None


def refused(root, **settings):
    with pytest.raises(CatalogError) as caught:
        uris(root, **settings)
    return str(caught.value)


def test_what_is_missing_is_named(root):
    shutil.rmtree(root / "Data/VID/snippets/train/ILSVRC2015_VID_train_0000")
    shutil.rmtree(root / "Data/VID/snippets/train/ILSVRC2015_VID_train_0001")
    assert "Data/VID/snippets/train under data.root=" in refused(root, split="train")
    (root / "Data/VID/snippets").rename(root / "Data/VID/train")
    assert "has no folder Data/VID/snippets/train: Data/VID/train is there" in refused(
        root, split="train+val"
    )
    assert "it has train, val, all" in refused(root, split="test")
    assert f"set data.root to {root}" in refused(root.parent)
    shutil.rmtree(root / "Data/VID/val")
    both = "has no folder Data/VID/snippets/train and Data/VID/val: "
    assert both in refused(root)
    (root / "Data/VID/val").mkdir()
    assert "Data/VID/val under data.root=" in refused(root) and "holds no folder of frames" in refused(root)
