"""Objects of YouTube-VIS as boxes; id maps and their faults are in `test_ytvis` and `test_truth`."""

import json

import numpy as np
import pytest

from stages.catalog.ytvis_truth import read_ids, read_tracks
from stages.outcome import MediaError
from tests.layouts import make_ytvis

FRAMES = ["00000.jpg", "00005.jpg"]
SIZE = (32, 48)


@pytest.fixture
def root(tmp_path):
    return make_ytvis(tmp_path / "YTVIS", {"train": {"a": 2}})


def edit(root, **values):
    content = json.loads((root / "train.json").read_text())
    for annotation in content["annotations"]:
        annotation.update(values)
    (root / "train.json").write_text(json.dumps(content))


def tracks(root, frames=FRAMES):
    return read_tracks(str(root), "train.json#1", frames, SIZE, FRAMES)


def test_boxes_of_masks(root):
    first, second = tracks(root)
    assert [(t.number, t.category) for t in (first, second)] == [(10, "person"), (11, "giant_panda")]
    assert first.boxes.tolist() == [[4, 4, 15, 15], [4, 5, 15, 16]]
    assert np.isnan(second.boxes[0]).all() and second.boxes[1].tolist() == [10, 9, 21, 20]
    assert tracks(root, FRAMES[1:])[1].boxes.tolist() == [[10, 9, 21, 20]]


def test_boxes_of_the_file_where_it_has_no_masks(root):
    edit(root, segmentations=None, bboxes=[None, [3, 4, 10.5, 1]])
    first, _ = tracks(root)
    assert np.isnan(first.boxes[0]).all() and first.boxes[1].tolist() == [3, 4, 12.5, 4]
    with pytest.raises(MediaError, match="annotation 10 has no segmentations for the 2 frames of a"):
        read_ids(str(root), "train.json#1", FRAMES, SIZE, FRAMES)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"segmentations": None, "bboxes": [[1, 2, 3], None]}, "frame a/00000.jpg: .1, 2, 3. is no box"),
        ({"segmentations": None, "bboxes": [["1", 2, 3, 4], None]}, "is no box of x, y, width and height"),
        ({"segmentations": None, "bboxes": [[1, 2, 0, 4], None]}, "is no box of x, y, width and height"),
        ({"segmentations": None, "bboxes": [None]}, "has 1 bboxes for the 2 frames of a"),
        ({"segmentations": None, "bboxes": None}, "has no segmentations for the 2 frames"),
        (
            {"segmentations": [None, {"size": [9, 9], "counts": [81]}]},
            ", frame a/00005.jpg: a mask has 9 x 9",
        ),
    ],
)
def test_faults_are_named(root, values, says):
    edit(root, **values)
    with pytest.raises(MediaError, match=f"train.json: annotation 10.*{says}") as caught:
        tracks(root)
    assert caught.value.error_class == "annotation"


def test_a_category_without_a_name_is_its_id(root):
    edit(root, category_id=77)
    assert {track.category for track in tracks(root)} == {"77"}
