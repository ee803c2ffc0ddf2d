"""Ground truth of every rule, and everything that can be wrong with it."""

import json

import numpy as np
import pytest
from PIL import Image

from stages.catalog.spec import DataSpec
from stages.catalog.table import split_truth
from stages.catalog.truth import RULES, annotated, read_truth
from stages.outcome import MediaError
from stages.sprites.clip import clip
from stages.sprites.spec import SpritesSpec
from tests import layouts, tfrecords
from tests.media import make_video
from tests.outside import outside
from tests.stages.catalog.test_stage import run

DAVIS = {"train": ["bear"], "val": ["camel"]}


def rows_of(tmp_path, root, **settings):
    _, rows = run(tmp_path, DataSpec(**settings), root)
    return {row["uri"].rpartition("/")[2]: row for row in rows}


def wrong(root, row, frames=(0, 1, 2)):
    with pytest.raises(MediaError) as caught:
        read_truth(str(root), row, frames)
    assert caught.value.error_class == "annotation"
    assert str(root) not in caught.value.message
    return caught.value.message


@pytest.fixture
def davis(tmp_path):
    root = layouts.make_davis(tmp_path / "root", DAVIS, unsupervised=["bear"])
    return root, rows_of(tmp_path, root, kind="davis")


def test_every_rule_is_read_somewhere_here():
    assert set(RULES) == {
        "davis2016", "davis2017", "ytvis", "ytvis-png", "movi_e", "sprites", "masks", "masks-binary"
    }  # fmt: skip


def test_davis_2017_both_annotation_sets(tmp_path):
    root = layouts.make_davis(tmp_path / "root", DAVIS, unsupervised=["bear"])
    _, ids = layouts.moving(0, 3)
    for settings, expected in (({}, np.where(ids == 1, 3, ids)), ({"annotations": "semi"}, ids)):
        (tmp_path / str(len(settings))).mkdir()
        row = rows_of(tmp_path / str(len(settings)), root, kind="davis", **settings)["bear"]
        found = read_truth(str(root), row, [2, 0])
        assert found.ids.dtype == np.uint16 and annotated(row)
        np.testing.assert_array_equal(found.ids, expected[[2, 0]])
        assert not found.void.any() and found.void.shape == found.ids.shape


def test_davis_2016(tmp_path):
    root = layouts.make_davis(tmp_path / "root", DAVIS, year="2016")
    row = rows_of(tmp_path, root, kind="davis")["camel"]
    found = read_truth(str(root), row, range(3))
    np.testing.assert_array_equal(found.ids, layouts.moving(1, 3)[1] > 0)
    assert found.void is None


def test_void_and_gaps_in_ids(davis):
    root, rows = davis
    values = np.zeros((32, 48), np.uint8)
    values[0], values[1], values[2] = 7, 255, 2
    layouts.write_masks(root / "Annotations_unsupervised/480p/bear", np.stack([values, 0 * values, values]))
    found = read_truth(str(root), rows["bear"], range(3))
    assert np.unique(found.ids).tolist() == [0, 2, 7]
    assert found.void[0].sum() == 48 and found.void[0, 1].all() and not found.ids[1].any()


def test_frames_are_counted_from_the_sources_first(tmp_path):
    root = layouts.make_davis(tmp_path / "root", {"val": ["bear"]}, frames=5)
    _, rows = run(tmp_path, DataSpec(kind="davis", segment_frames=3), root)
    assert [row["start"] for row in rows] == [0, 3]
    _, ids = layouts.moving(0, 5)
    np.testing.assert_array_equal(read_truth(str(root), rows[1], [3, 4]).ids, ids[3:])


def test_no_frames(davis):
    root, rows = davis
    assert read_truth(str(root), rows["bear"], []).ids.shape == (0, 32, 48)


def test_a_missing_mask(davis):
    root, rows = davis
    (root / "Annotations/480p/camel/00001.png").unlink()
    assert wrong(root, rows["camel"]) == (
        "Annotations/480p/camel/00001.png: is missing, the mask of frame 1: add it, or leave the video out"
    )
    np.testing.assert_array_equal(
        read_truth(str(root), rows["camel"], [2]).ids[0], layouts.moving(1, 3)[1][2]
    )


def test_a_mask_of_no_frame(davis):
    root, rows = davis
    (root / "JPEGImages/480p/camel/00001.jpg").unlink()
    assert "camel/00001.png: is the mask of a frame that is not there" in wrong(root, rows["camel"], [0])


def test_masks_of_another_size(davis):
    root, rows = davis
    layouts.write_masks(root / "Annotations/480p/camel", np.zeros((2, 16, 24), np.uint8))
    message = wrong(root, rows["camel"])
    assert "camel/00000.png: has 16 x 24 pixels, the frames of JPEGImages/480p/camel 32 x 48" in message


def test_broken_masks(davis):
    root, rows = davis
    folder = root / "Annotations/480p/camel"
    (folder / "00000.png").write_bytes((folder / "00000.png").read_bytes()[:60])
    assert wrong(root, rows["camel"]) == (
        "Annotations/480p/camel/00000.png: is no readable image: copy it again"
    )
    Image.fromarray(np.full((32, 48, 3), 7, np.uint8)).save(folder / "00000.png")
    assert "#070707 is no colour of the DAVIS palette: export it as an indexed" in wrong(root, rows["camel"])


def test_a_folder_of_masks_that_is_gone(davis):
    root, rows = davis
    folder = root / "Annotations/480p/camel"
    for path in folder.iterdir():
        path.unlink()
    assert wrong(root, rows["camel"]) == (
        "Annotations/480p/camel: the folder of masks holds no PNG: copy it again"
    )
    folder.rmdir()
    assert "the folder of masks can't be read" in wrong(root, rows["camel"])


def test_a_rule_of_nobody(davis):
    root, rows = davis
    assert "the rule 'mine'" in wrong(root, rows["camel"] | {"truth": "mine:somewhere"})
    with pytest.raises(ValueError, match="no truth entry"):
        split_truth("nothing")


def test_rotated_videos_have_upright_masks(tmp_path):
    row = {
        "uri": "a.mp4",
        "truth": "masks:Annotations/a",
        "height": 20,
        "width": 30,
        "rotation": 90,
        "frames": 1,
    }
    values = np.zeros((1, 30, 20), np.uint8)
    values[0, 5] = 4
    layouts.write_masks(tmp_path / "Annotations/a", values)
    np.testing.assert_array_equal(read_truth(str(tmp_path), row, [0]).ids, values)


def test_sprites(tmp_path):
    sprites = SpritesSpec(level="L0", count=1, frames=4, size=(32, 32))
    (tmp_path / "root").mkdir()
    _, (row,) = run(tmp_path, DataSpec(kind="sprites", sprites=sprites), tmp_path / "root")
    found = read_truth(str(tmp_path / "root"), row, range(4))
    np.testing.assert_array_equal(found.ids, clip(sprites, 0).ids)


@pytest.mark.parametrize("where", ["Annotations/day 1/a", "day 1/Annotations/a", "Annotations/480p/a"])
@pytest.mark.parametrize("values", ["ids", "binary"])
def test_masks_beside_a_video(tmp_path, where, values):
    root = tmp_path / "root"
    make_video(root / "day 1/a.mp4", frames=3, size=(32, 48))
    make_video(root / "b.mp4", frames=3, size=(32, 48))
    _, ids = layouts.moving(0, 3)
    layouts.write_masks(root / where, ids if values == "ids" else np.where(ids > 0, 255, 0).astype(np.uint8))
    rows = rows_of(tmp_path, root, mask_values=values)
    assert not annotated(rows["b.mp4"])
    found = read_truth(str(root), rows["a.mp4"], range(3))
    np.testing.assert_array_equal(found.ids, ids if values == "ids" else ids > 0)
    assert (found.void is None) == (values == "binary")


def test_masks_beside_a_video_that_don_t_fit_it(tmp_path):
    root = tmp_path / "root"
    make_video(root / "a.mp4", frames=4, size=(32, 48))
    folder = root / "Annotations/a"
    layouts.write_masks(folder, layouts.moving(0, 5)[1])
    row = rows_of(tmp_path, root)["a.mp4"]
    assert "has 5 masks for 4 frames: 00004.png belongs to none" in wrong(root, row)
    (folder / "00002.png").unlink()
    assert len(read_truth(str(root), row, range(4)).ids) == 4  # four masks for four frames
    (folder / "00000.png").unlink()
    (folder / "00005.png").write_bytes((folder / "00004.png").read_bytes())
    (folder / "00006.png").write_bytes((folder / "00004.png").read_bytes())
    assert "Annotations/a/00002.png: is missing, the mask of frame 1" in wrong(root, row)
    for name in ("00001.png", "00003.png", "00004.png"):
        (folder / name).unlink()
    assert "a mask after the 2 that are there is missing" in wrong(root, row, range(4))


@pytest.fixture
def ytvis(tmp_path):
    root = layouts.make_ytvis(tmp_path / "root", {"train": {"a": 3, "b": 3}}, pngs=["b"])
    return root, rows_of(tmp_path, root, kind="ytvis")


def test_ytvis(ytvis):
    root, rows = ytvis
    found = read_truth(str(root), rows["a"], [0, 2])
    np.testing.assert_array_equal(found.ids, layouts.expected_ytvis(3)[[0, 2]])
    np.testing.assert_array_equal(read_truth(str(root), rows["b"], range(3)).ids, layouts.moving(2, 3)[1])


def rewrite(root, change):
    data = json.loads((root / "train.json").read_text())
    change(data, next(a for a in data["annotations"] if a["id"] == 10))
    (root / "train.json").write_text(json.dumps(data))


def test_ytvis_frames_without_objects(ytvis):
    root, rows = ytvis
    rewrite(root, lambda data, _: [a.update(segmentations=[None] * 3) for a in data["annotations"]])
    assert not read_truth(str(root), rows["a"], range(3)).ids.any()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda data, one: one.pop("segmentations"), "train.json: annotation 10 has no key 'segmentations'"),
        (lambda data, one: one["segmentations"].pop(), "10 has 2 segmentations for the 3 frames of a"),
        (lambda data, one: one.update(segmentations=None), "10 has no segmentations for the 3 frames"),
        (
            lambda data, one: one["segmentations"][1].update(size=[16, 24]),
            "annotation 10, frame a/00005.jpg: a mask has 16 x 24 pixels, the frames have 32 x 48",
        ),
        (
            lambda data, one: one["segmentations"][1].update(counts=[5]),
            "annotation 10, frame a/00005.jpg: the run lengths of a mask don't add up",
        ),
        (lambda data, one: data["videos"].pop(0), "train.json: videos has no video 1"),
        (
            lambda data, one: data["videos"][0].update(height=64),
            "train.json: video 1 has 64 x 48 pixels, the frames of a 32 x 48",
        ),
        (lambda data, one: data["videos"][0].pop("width"), r"train.json: videos[0] has no key 'width'"),
        (
            lambda data, one: data["videos"][0]["file_names"].append("a/00099.jpg"),
            "frame a/00099.jpg, which is not in",
        ),
        (lambda data, one: data["videos"][0]["file_names"].pop(), "no annotation for the frame a/00010.jpg"),
    ],
)  # fmt: skip
def test_ytvis_that_is_broken(ytvis, change, says):
    root, rows = ytvis
    rewrite(root, change)
    assert says in wrong(root, rows["a"])


def test_ytvis_that_is_gone(ytvis):
    root, rows = ytvis
    (root / "train.json").rename(root / "away.json")
    assert "train.json: can't be read (No such file or directory)" in wrong(root, rows["a"])
    (root / "train.json").write_text("{")
    assert "train.json: is no JSON" in wrong(root, rows["a"])
    (root / "away.json").rename(root / "train.json")
    assert "frame 7 is not there any more" in wrong(root, rows["a"], [7])
    (root / "train/Annotations/b/00005.png").unlink()
    assert "train/Annotations/b/00005.png: is missing" in wrong(root, rows["b"])


def test_movi_e_masks_of_another_size(tmp_path):
    root = tmp_path / "root"
    rgb, ids = tfrecords.clip(0, frames=3)
    tfrecords.write_shard(
        tfrecords.shard_path(root, "test", 0, 1), [tfrecords.movi_example(rgb, ids[:, :16])]
    )
    (row,) = rows_of(tmp_path, root, kind="movi_e").values()
    assert "the mask of frame 0: has 16 x 48 pixels, the frames of" in wrong(root, row)
    assert ".tfrecord-00000-of-00001#0 32 x 48" in wrong(root, row)


def test_real_sequences(tmp_path):
    root = outside("data", "davis2016_mini")
    _, rows = run(tmp_path, DataSpec(kind="davis"), root)
    assert rows and all(map(annotated, rows))
    for row in rows[:3]:
        found = read_truth(str(root), row, [0, row["frames"] - 1])
        assert found.ids.shape == (2, row["height"], row["width"])
        assert np.unique(found.ids).tolist() == [0, 1] and found.void is None
