"""DAVIS: both editions, both forms of lists, and what 255 means in each."""

import numpy as np
import pytest
from PIL import Image

from stages.catalog.davis import DavisSet, read_mask
from stages.catalog.errors import CatalogError
from stages.catalog.listing import list_items
from stages.catalog.spec import DataSpec
from stages.catalog.table import split_truth
from stages.outcome import Rejected
from stages.sprites.palette import mask_palette
from tests.outside import outside
from tests.stages.catalog.test_frames import make_frames
from tests.stages.catalog.test_stage import run

MASK_2017 = np.array([[0, 1, 2], [255, 0, 38]], np.uint8)
MASK_2016 = np.array([[0, 255, 255], [0, 0, 255]], np.uint8)


def make_sequence(root, name, annotations=("Annotations",)):
    make_frames(root / "JPEGImages/480p" / name)
    for folder in annotations:
        make_frames(root / folder / "480p" / name, suffix="png")


def write_list(root, folder, name, lines):
    path = root / "ImageSets" / folder / f"{name}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


def path_lines(*names):
    return [
        f"/JPEGImages/480p/{name}/{t:05d}.jpg /Annotations/480p/{name}/{t:05d}.png"
        for name in names
        for t in range(3)
    ]


def package_2016(root):
    for name in ("bear", "bus", "camel"):
        make_sequence(root, name)
    write_list(root, "480p", "train", path_lines("bear", "bus"))
    write_list(root, "480p", "val", path_lines("camel"))
    write_list(root, "480p", "trainval", path_lines("bear", "bus", "camel"))


def package_2017(root, unsupervised=False):
    folders = ("Annotations", "Annotations_unsupervised") if unsupervised else ("Annotations",)
    for name in ("bear", "camel", "india"):
        make_sequence(root, name, folders)
    write_list(root, "2016", "train", ["bear"])  # the 2017 package has lists of the 2016 subset
    write_list(root, "2016", "val", ["camel"])
    write_list(root, "2017", "train", ["bear"])
    write_list(root, "2017", "val", ["camel", "india", ""])


def names(root, **settings):
    return [
        row["uri"].rsplit("/", 1)[-1] for row in list_items(DataSpec(kind="davis", **settings), str(root))
    ]


def truth(root, name, **settings):
    return DavisSet(DataSpec(kind="davis", **settings), str(root)).truth(f"JPEGImages/480p/{name}")


def test_2016_with_lists_of_paths(tmp_path):
    package_2016(tmp_path)
    assert names(tmp_path) == names(tmp_path, split="all") == ["bear", "bus", "camel"]
    assert names(tmp_path, split="train") == ["bear", "bus"]
    assert names(tmp_path, split="val", year="2016") == ["camel"]
    assert split_truth(truth(tmp_path, "bear")) == ("davis2016", "Annotations/480p/bear")


def test_several_lists_and_which_are_scored(tmp_path):
    package_2017(tmp_path)
    assert names(tmp_path, split="train+val") == ["bear", "camel", "india"]
    assert names(tmp_path, scored="val") == ["bear", "camel", "india"]
    assert truth(tmp_path, "bear", scored="val") is None
    assert truth(tmp_path, "camel", scored="val") == "davis2017:Annotations/480p/camel"
    (tmp_path / "Annotations/480p/camel").rename(tmp_path / "camel")
    assert truth(tmp_path, "camel") is None
    assert truth(tmp_path, "camel", scored="val") == "davis2017:Annotations/480p/camel", "scoring rejects it"
    with pytest.raises(CatalogError, match="has no 'test' for data.scored=test; it has train, val, all"):
        names(tmp_path, scored="test")
    with pytest.raises(CatalogError, match="data.scored=val has no video among those of data.split=train"):
        names(tmp_path, split="train", scored="val")


def test_the_annotations_to_take(tmp_path):
    package_2017(tmp_path, unsupervised=True)
    assert truth(tmp_path, "india", annotations="semi") == "davis2017:Annotations/480p/india"
    found = truth(tmp_path, "india", annotations="unsupervised")
    assert found == "davis2017:Annotations_unsupervised/480p/india"
    make_sequence(tmp_path, "late")
    missing = truth(tmp_path, "late", annotations="unsupervised")
    assert missing == "davis2017:Annotations_unsupervised/480p/late", "what is asked for has to be there"
    with pytest.raises(ValueError, match="data.annotations=json.*auto, unsupervised, semi"):
        DataSpec(kind="davis", annotations="json")


def test_missing_parts(tmp_path):
    package_2017(tmp_path / "a")
    with pytest.raises(CatalogError, match="no folder Annotations_unsupervised/480p.*data.annotations=auto"):
        names(tmp_path / "a", annotations="unsupervised")
    (tmp_path / "a/JPEGImages").rename(tmp_path / "a/Images")
    with pytest.raises(CatalogError, match="no folder JPEGImages/480p: unpack that part"):
        names(tmp_path / "a")
    package_2016(tmp_path / "b")
    with pytest.raises(CatalogError, match="DAVIS-2016, which has no unsupervised annotations"):
        names(tmp_path / "b", annotations="unsupervised")


def test_masks_without_frames_and_listed_sequences_without_a_folder_are_rejected(tmp_path):
    root = tmp_path / "root"
    package_2017(root)
    make_frames(root / "Annotations/480p/lost", suffix="png")
    (root / "JPEGImages/480p/india").rename(tmp_path / "india")
    outcomes, rows = run(tmp_path, DataSpec(kind="davis"), root)
    assert sorted(o.message for o in outcomes if isinstance(o, Rejected)) == [
        "Annotations/480p/lost: masks of frames that are not there: unpack JPEGImages/480p/lost or remove "
        "them",
        "JPEGImages/480p/india: a list names this sequence and its folder is not there: unpack it or take it "
        "off the list",
    ]
    assert [row["uri"] for row in rows] == ["JPEGImages/480p/bear", "JPEGImages/480p/camel"]
    assert "lost" not in names(root, split="train+val")


def test_2017_is_known_by_its_lists_though_it_ships_those_of_2016(tmp_path):
    package_2017(tmp_path)
    assert names(tmp_path) == ["bear", "camel", "india"]
    assert names(tmp_path, split="val") == ["camel", "india"]
    assert truth(tmp_path, "india") == "davis2017:Annotations/480p/india"
    assert names(tmp_path, year="2016") == ["bear", "camel"]
    assert truth(tmp_path, "bear", year="2016") == "davis2016:Annotations/480p/bear"


def test_2017_unsupervised_masks_come_first(tmp_path):
    package_2017(tmp_path, unsupervised=True)
    assert truth(tmp_path, "india") == "davis2017:Annotations_unsupervised/480p/india"
    make_sequence(tmp_path, "late")
    assert truth(tmp_path, "late") == "davis2017:Annotations/480p/late"
    make_sequence(tmp_path, "test-dev", annotations=())
    assert truth(tmp_path, "test-dev") is None


def test_both_packages_in_one_root_need_a_year(tmp_path):
    package_2016(tmp_path)
    package_2017(tmp_path)
    with pytest.raises(CatalogError, match=r"data\.year=2016 or data\.year=2017"):
        names(tmp_path)
    assert names(tmp_path, year="2016") == ["bear", "bus", "camel"]
    assert names(tmp_path, year="2017") == ["bear", "camel", "india"]


def test_the_year_never_depends_on_pixels(tmp_path):
    package_2016(tmp_path)
    for path in (tmp_path / "Annotations/480p").rglob("*.png"):
        Image.fromarray(MASK_2017).save(path)
    assert truth(tmp_path, "bear") == "davis2016:Annotations/480p/bear"


def test_a_listed_sequence_without_folder_is_an_item(tmp_path):
    package_2017(tmp_path)
    write_list(tmp_path, "2017", "val", ["camel", "gone"])
    rows = list_items(DataSpec(kind="davis"), str(tmp_path))
    assert {"uri": "JPEGImages/480p/gone", "bytes": -1, "mtime": 0} in rows


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(CatalogError, match="is no DAVIS: ImageSets/480p"):
        names(tmp_path)
    package_2017(tmp_path)
    with pytest.raises(
        CatalogError, match="has no 'test-dev' for data.split=test-dev; it has train, val, all"
    ):
        names(tmp_path, split="test-dev")
    write_list(tmp_path, "2017", "train", ["../.."])
    with pytest.raises(CatalogError, match="names no sequence"):
        names(tmp_path)
    with pytest.raises(CatalogError, match=r"ImageSets/480p or ImageSets/2016"):
        write_list(tmp_path / "other", "2017", "train", ["bear"])
        names(tmp_path / "other", year="2016")


def save(tmp_path, values, mode):
    path = tmp_path / f"{mode}.png"
    if mode == "P":
        image = Image.fromarray(values)
        image.putpalette(mask_palette().tobytes())
    elif mode == "LA":
        image = Image.merge("LA", [Image.fromarray(values), Image.fromarray(np.full_like(values, 255))])
    elif mode == "1":
        image = Image.fromarray(values > 0)
    elif mode in ("RGB", "RGBA"):
        image = Image.fromarray(mask_palette()[values]).convert(mode)
    else:
        image = Image.fromarray(values)
    image.save(path)
    with Image.open(path) as saved:
        assert saved.mode == mode
    return path


@pytest.mark.parametrize("mode", ["P", "L", "LA", "RGB", "RGBA"])
def test_255_is_void_in_2017(tmp_path, mode):
    ids, void = read_mask(save(tmp_path, MASK_2017, mode), "2017")
    assert ids.tolist() == [[0, 1, 2], [0, 0, 38]] and ids.dtype == np.uint8
    assert void.tolist() == [[False, False, False], [True, False, False]] and void.dtype == bool


@pytest.mark.parametrize("mode", ["P", "L", "LA", "RGB", "RGBA", "1"])
def test_255_is_foreground_in_2016(tmp_path, mode):
    ids, void = read_mask(save(tmp_path, MASK_2016, mode), "2016")
    assert ids.tolist() == [[0, 1, 1], [0, 0, 1]] and ids.dtype == np.uint8
    assert not void.any()


def test_masks_that_are_none(tmp_path):
    Image.fromarray(np.full((2, 2, 3), 7, np.uint8)).save(tmp_path / "odd.png")
    with pytest.raises(ValueError, match=r"odd\.png: #070707"):
        read_mask(tmp_path / "odd.png", "2017")
    Image.fromarray(np.zeros((2, 2), np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(ValueError, match="mode I;16"):
        read_mask(tmp_path / "deep.png", "2016")
    with pytest.raises(OSError):
        read_mask(tmp_path / "none.png", "2016")


def test_the_real_thing():
    root = outside("data", "davis2016_mini")
    listed = {line for path in (root / "ImageSets/2016").glob("*.txt") for line in path.read_text().split()}
    rows = list_items(DataSpec(kind="davis"), str(root))
    assert {row["uri"] for row in rows} == {f"JPEGImages/480p/{name}" for name in listed}
    data = DavisSet(DataSpec(kind="davis"), str(root))
    for row in rows:
        name = row["uri"].rsplit("/", 1)[-1]
        images = sorted((root / row["uri"]).glob("*.jpg"))
        assert row["bytes"] == sum(path.stat().st_size for path in images) > 0
        rule, uri = split_truth(data.truth(row["uri"]))
        assert (rule, uri) == ("davis2016", f"Annotations/480p/{name}")
        masks = sorted((root / uri).glob("*.png"))
        assert [m.stem for m in masks] == [i.stem for i in images]
        sizes = set()
        for path in {masks[0], masks[len(masks) // 2], *(m for m in masks if mode_of(m) != "L")}:
            ids, void = read_mask(path, "2016")
            with Image.open(path) as image:
                assert np.array_equal(ids > 0, np.asarray(image.convert("L")) > 0)
            assert ids.max() <= 1 and not void.any()
            sizes.add(ids.shape)
        with Image.open(images[0]) as image:
            assert sizes == {(image.height, image.width)}


def mode_of(path):
    with Image.open(path) as image:
        return image.mode
