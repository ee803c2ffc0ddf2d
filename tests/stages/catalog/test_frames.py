"""Listing folders of images."""

import os

import numpy as np
import pytest
from PIL import Image

from stages.catalog.errors import CatalogError
from stages.catalog.listing import list_items
from stages.catalog.spec import DataSpec

FRAMES = DataSpec(kind="frames")


def make_frames(folder, count=3, suffix="jpg", size=(16, 20)):
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        Image.fromarray(np.full((*size, 3), 40 * number, np.uint8)).save(folder / f"{number:05d}.{suffix}")
    return folder


def test_every_folder_with_images_is_a_video(tmp_path):
    make_frames(tmp_path / "a", 2)
    make_frames(tmp_path / "b/c d", 3, "png")
    (tmp_path / "b/notes.txt").write_text("none")
    (tmp_path / "hollow").mkdir()
    rows = list_items(FRAMES, str(tmp_path))
    assert [row["uri"] for row in rows] == ["a", "b/c%20d"]
    sizes = [f.stat().st_size for f in (tmp_path / "a").iterdir()]
    assert rows[0]["bytes"] == sum(sizes)


def test_the_root_itself_may_be_one(tmp_path):
    make_frames(tmp_path)
    assert [row["uri"] for row in list_items(FRAMES, str(tmp_path))] == ["."]


def test_a_changed_added_or_removed_image_shows(tmp_path):
    folder = make_frames(tmp_path / "a")
    (before,) = list_items(FRAMES, str(tmp_path))
    os.utime(folder / "00001.jpg", ns=(0, before["mtime"] + 10**9))
    (changed,) = list_items(FRAMES, str(tmp_path))
    assert changed["mtime"] > before["mtime"] and changed["bytes"] == before["bytes"]
    (folder / "00002.jpg").unlink()
    (removed,) = list_items(FRAMES, str(tmp_path))
    assert removed["bytes"] < changed["bytes"]


def test_loops_are_items(tmp_path):
    make_frames(tmp_path / "a")
    os.symlink("..", tmp_path / "a/up")
    assert [(r["uri"], r["bytes"] < 0) for r in list_items(FRAMES, str(tmp_path))] == [
        ("a", False),
        ("a/up", True),
    ]


def test_no_images_is_an_error(tmp_path):
    (tmp_path / "x.mp4").write_bytes(b"x")
    with pytest.raises(CatalogError, match="no images.*data.kind=folder"):
        list_items(FRAMES, str(tmp_path))
