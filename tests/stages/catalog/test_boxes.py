"""Ground truth as boxes, of every kind, and everything that can be wrong with files of boxes."""

import json
import shutil

import numpy as np
import pytest

from stages.catalog.boxes import NO_CLASS, read_boxes
from stages.catalog.spec import DataSpec
from stages.catalog.truth import BOX_RULES, read_truth
from stages.outcome import MediaError
from stages.sprites.clip import clip
from stages.sprites.files import clip_files
from stages.sprites.palette import COLOURS
from stages.sprites.spec import SpritesSpec
from tests.layouts import box_xml, make_davis, make_imagenet_vid, make_ytvis
from tests.stages.catalog.test_stage import run

DOG, CAT = 8, 9
LION, CHAIR = "n02129165", "n03001627"
FOLDER = "Annotations/VID/val/v0"


def row_of(tmp_path, root, **settings):
    _, rows = run(tmp_path, DataSpec(**settings), root)
    return rows[-1]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = make_imagenet_vid(tmp_path_factory.mktemp("boxes") / "VID", val=["v0"])
    return root, row_of(root.parent, root, kind="imagenet_vid", segment_frames=2)


@pytest.fixture
def vid(tmp_path, made):
    shutil.copytree(made[0], tmp_path / "VID")
    return tmp_path / "VID", made[1]


def boxes(found):
    return [frame.boxes.tolist() for frame in found.frames]


def test_imagenet_vid(vid):
    """Frames are counted from the first of the source, though the row is of its second segment."""
    root, row = vid
    assert (row["start"], row["frames"], row["truth"].partition(":")[0]) == (2, 1, BOX_RULES[0])
    found = read_boxes(str(root), row, [2, 0])
    assert boxes(found) == [[[4, 6, 15, 17], [10, 10, 21, 21]], [[4, 4, 15, 15]]]
    assert [frame.classes.tolist() for frame in found.frames] == [[DOG, CAT], [DOG]]
    assert [frame.tracks.tolist() for frame in found.frames] == [[0, 1], [0]]
    assert [found.names[n] for n in (DOG, CAT)] == ["dog", "domestic_cat"] and found.unknown == {}
    first = found.frames[0]
    assert (first.boxes.dtype, first.classes.dtype, first.tracks.dtype) == (np.float64, np.int64, np.int64)
    assert read_boxes(str(root), row, []).frames == ()


def test_corners_are_clamped_and_unknown_ids_counted(vid):
    root, row = vid
    outside = [(LION, 0, (-3, 5, 48, 40)), (CHAIR, 1, (0, 0, 5, 5)), (CHAIR, 2, (0, 0, 5, 5))]
    (root / FOLDER / "000000.xml").write_text(box_xml(outside))
    (root / FOLDER / "000001.xml").write_text(box_xml([(CHAIR, 1, (0, 0, 5, 5))]))
    found = read_boxes(str(root), row, [0, 1])
    assert boxes(found) == [[[0, 5, 47, 31]], []] and found.frames[1].boxes.shape == (0, 4)
    assert found.names[found.frames[0].classes[0]] == "lion"
    assert found.unknown == {CHAIR: 3}


def wrong(root, row, frames=(0, 1, 2), read=read_boxes):
    with pytest.raises(MediaError) as caught:
        read(str(root), row, frames)
    assert caught.value.error_class == "annotation" and str(root) not in caught.value.message
    return caught.value.message


def test_what_is_wrong_is_named(vid):
    root, row = vid
    (root / FOLDER / "000009.xml").write_text(box_xml([]))
    assert wrong(root, row).startswith(f"{FOLDER}/000009.xml: holds the boxes of a frame that is not there")
    (root / FOLDER / "000009.xml").unlink()
    (root / FOLDER / "000002.xml").write_text(box_xml([], size=(48, 32)))
    says = "is of a frame of 48 x 32 pixels, those of Data/VID/val/v0 have 32 x 48 (height x width)"
    assert f"{FOLDER}/000002.xml: {says}" in wrong(root, row)
    (root / FOLDER / "000002.xml").write_text("<annotation>")
    assert f"{FOLDER}/000002.xml: is no XML" in wrong(root, row)
    (root / FOLDER / "000002.xml").unlink()
    assert f"{FOLDER}/000002.xml: is missing, the boxes of frame 2" in wrong(root, row)
    assert len(read_boxes(str(root), row, [1]).frames) == 1
    shutil.rmtree(root / FOLDER)
    assert f"{FOLDER}: the folder of boxes can't be read" in wrong(root, row)
    (root / "Data/VID/val/v0/000002.JPEG").unlink()
    assert "frame 2 is not there any more, the folder has 2" in wrong(root, row)


def test_boxes_are_no_masks(vid):
    assert wrong(*vid, read=read_truth).startswith("Data/VID/val/v0: its ground truth is boxes")


def test_ytvis_has_the_boxes_of_whole_masks(tmp_path):
    """The first object is half covered by the second in id maps; its box isn't."""
    root = make_ytvis(tmp_path / "YTVIS", {"train": {"a": 3}})
    row = row_of(tmp_path, root, kind="ytvis")
    found = read_boxes(str(root), row, [0, 2])
    assert boxes(found) == [[[4, 4, 15, 15]], [[4, 6, 15, 17], [10, 10, 21, 21]]]
    assert [frame.classes.tolist() for frame in found.frames] == [[0], [0, 1]]
    assert [frame.tracks.tolist() for frame in found.frames] == [[10], [10, 11]]
    assert found.names[:2] == ("person", "giant panda")
    content = json.loads((root / "train.json").read_text())
    content["categories"][1]["name"] = "unicorn"
    (root / "train.json").write_text(json.dumps(content))
    found = read_boxes(str(root), row, [0, 2])
    assert [len(frame.boxes) for frame in found.frames] == [1, 1] and found.unknown == {"unicorn": 1}


def test_masks_without_classes(tmp_path):
    root = make_davis(tmp_path / "DAVIS", {"val": ["bear"]})
    found = read_boxes(str(root), row_of(tmp_path, root, kind="davis"), [0])
    assert boxes(found) == [[[4, 4, 15, 15], [10, 8, 21, 19]]]
    assert (found.frames[0].classes.tolist(), found.names) == ([NO_CLASS, NO_CLASS], ())
    assert found.frames[0].tracks.tolist() == [1, 2]


def test_sprites_have_classes_and_words(tmp_path):
    """Colours are classes; colour and shape are words, in the order of the boxes."""
    spec = SpritesSpec(level="L0", count=1, frames=2, size=(32, 32))
    (tmp_path / "videos").mkdir()
    row = row_of(tmp_path, tmp_path / "videos", kind="sprites", sprites=spec)
    made = clip(spec, 0)
    found = read_boxes(str(tmp_path / "videos"), row, [1, 0])
    assert found.names == tuple(COLOURS)
    seen = [thing for thing in made.objects if thing["pixels"][1]]
    assert found.frames[0].words == tuple((thing["colour"], thing["shape"]) for thing in seen) != ()
    assert [found.names[n] for n in found.frames[0].classes] == [thing["colour"] for thing in seen]
    rows, columns = np.nonzero(made.ids[1] == seen[0]["id"])
    assert found.frames[0].boxes[0].tolist() == [columns.min(), rows.min(), columns.max(), rows.max()]
    file = clip_files(spec, 0).objects
    (tmp_path / "videos" / file).write_text("{}")
    says = "the names of the clip's objects can't be read: put the file back"
    assert wrong(tmp_path / "videos", row, [0]) == f"{file}: {says}"
