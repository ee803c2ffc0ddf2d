"""Folders of pictures, each a video of one frame."""

import pytest

from stages.catalog.errors import CatalogError
from stages.catalog.listing import list_items
from stages.catalog.spec import DataSpec
from stages.outcome import Rejected
from tests.layouts import make_image_folder
from tests.stages.catalog.test_stage import run

PICTURES = {
    "train/n01440764/n01440764_1.JPEG": (20, 30),
    "train/n01443537/n01443537_2.JPEG": (1, 1),
    "val/ILSVRC2012_val_00000001.JPEG": (1, 900),
}


def uris(root, **settings):
    return [row["uri"] for row in list_items(DataSpec(kind="image_folder", **settings), str(root))]


@pytest.fixture
def root(tmp_path):
    return make_image_folder(tmp_path / "ILSVRC", PICTURES)


def test_splits_are_folders(root):
    (root / "train/n01440764/notes.txt").write_text("none")
    assert uris(root) == uris(root, split="train+val") == list(PICTURES)
    assert uris(root, split="val") == list(PICTURES)[2:]
    assert uris(root / "train") == [name.removeprefix("train/") for name in list(PICTURES)[:2]]
    with pytest.raises(CatalogError, match="has no 'test' for data.split=test; it has train, val, all"):
        uris(root, split="test")


def test_each_is_a_video_of_one_frame(tmp_path, root):
    (root / "train/n09999999").mkdir()
    (root / "val/broken.JPEG").write_bytes(b"no image")
    outcomes, rows = run(tmp_path, DataSpec(kind="image_folder", fps=5.0), root)
    assert [(r["uri"], r["frames"], (r["height"], r["width"]), r["truth"]) for r in rows] == [
        (uri, 1, size, None) for uri, size in PICTURES.items()
    ]
    assert rows[0]["bytes"] == (root / rows[0]["uri"]).stat().st_size
    assert [(o.error_class, o.message) for o in outcomes if isinstance(o, Rejected)] == [
        (
            "no_frames",
            "train/n09999999: is a folder without pictures: unpack its pictures again or remove it",
        ),
        ("decode_error", "broken.JPEG: is a broken image: replace it or take it out"),
    ]


def test_no_picture_is_an_error(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"x")
    with pytest.raises(CatalogError, match="no picture in any of 1 folders; for video files"):
        uris(tmp_path)
    (tmp_path / "n01440764.tar").write_bytes(b"x")
    (tmp_path / "n01440764").mkdir()
    with pytest.raises(CatalogError, match="no picture in any of 2 folders; unpack the 1 archives there"):
        uris(tmp_path)
