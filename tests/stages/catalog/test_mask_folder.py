"""Which mask belongs to which frame; the sentences are tested with `test_truth`."""

import pytest

from stages.catalog.mask_folder import candidates, holds_masks, masks_by_name, masks_by_order
from stages.outcome import MediaError


def files(folder, *names):
    folder.mkdir(parents=True)
    for name in names:
        (folder / name).touch()


def test_where_masks_of_a_video_may_lie():
    assert list(candidates("a%20b.mp4")) == ["Annotations/a%20b", "Annotations/480p/a%20b"]
    assert list(candidates("x/y/c.d.mkv")) == [
        "Annotations/x/y/c.d",
        "x/y/Annotations/c.d",
        "Annotations/480p/c.d",
    ]
    assert next(candidates("plain")) == "Annotations/plain"


def test_folders_that_hold_masks(tmp_path):
    files(tmp_path / "a", "0.PNG")
    files(tmp_path / "b", "0.jpg", ".x.png")
    assert holds_masks(tmp_path / "a") and not holds_masks(tmp_path / "b")
    assert not holds_masks(tmp_path / "c") and not holds_masks(tmp_path / "a/0.PNG")


def test_by_name(tmp_path):
    files(tmp_path / "m", "2.png", "10.png", ".hidden.png", "notes.txt")
    images = ["2.jpg", "10.jpg", "11.jpg"]
    assert masks_by_name(str(tmp_path), "m", images, [1, 0, 1]) == ["10.png", "2.png", "10.png"]
    with pytest.raises(MediaError, match=r"m/11\.png: is missing, the mask of frame 2"):
        masks_by_name(str(tmp_path), "m", images, [2])
    with pytest.raises(MediaError, match="frame 3 is not there any more, the video has 3"):
        masks_by_name(str(tmp_path), "m", images, [3])
    with pytest.raises(MediaError, match=r"m/10\.png: is the mask of a frame that is not there"):
        masks_by_name(str(tmp_path), "m", images[:1], [0])


def test_by_order(tmp_path):
    files(tmp_path / "m", *(f"f2_{n}.png" for n in (0, 5, 10, 15)))
    root = str(tmp_path)
    assert masks_by_order(root, "m", [3, 0], None) == ["f2_15.png", "f2_0.png"]
    with pytest.raises(MediaError, match="m: has 4 masks for 3 frames: f2_15.png belongs to none"):
        masks_by_order(root, "m", [0], 3)
    (tmp_path / "m/f2_10.png").unlink()
    assert masks_by_order(root, "m", [2], 3) == ["f2_15.png"]
    with pytest.raises(MediaError, match=r"m/f2_10\.png: is missing, the mask of frame 2"):
        masks_by_order(root, "m", [0], None)


def test_names_without_a_series(tmp_path):
    files(tmp_path / "m", "first.png", "second.png", "third.png")
    assert masks_by_order(str(tmp_path), "m", [1], 3) == ["second.png"]
    with pytest.raises(MediaError, match="a mask after the 3 that are there is missing"):
        masks_by_order(str(tmp_path), "m", [3], 4)
