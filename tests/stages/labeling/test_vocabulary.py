"""Vocabularies from lists, files and classes, and what is wrong with them."""

import subprocess
import sys

import pytest

from stages.errors import SettingsError
from stages.labeling.vocabulary import BACKGROUND, REST, Vocabulary, read_vocabulary
from stages.stage import canonical


def test_the_background_names():
    assert len(set(BACKGROUND)) == len(BACKGROUND) == 86
    assert {"banner", "marble floor", "concrete wall", "wood"} <= set(BACKGROUND)
    assert all(name == " ".join(name.split()) for name in BACKGROUND)


def test_order_and_spelling():
    found = Vocabulary(("domestic_cat", " Giant \t panda "), ("sky", "sea"))
    assert found.texts == (REST, "domestic_cat", "Giant panda", "sky", "sea")
    assert found.targets == 2
    assert canonical(found) == {"names": ["domestic_cat", "Giant panda"], "background": ["sky", "sea"]}


@pytest.mark.parametrize("target", ["tree", "Tree ", "brick_wall"])
def test_a_target_is_no_background(target):
    found = Vocabulary(("dog", target))
    assert len(found.background) == 85
    assert {"tree", "brick wall"} - set(found.background) == {target.strip().lower().replace("_", " ")}


def test_digest():
    cats = Vocabulary(("cat", "dog"))
    assert cats.digest == Vocabulary(("cat ", "dog")).digest == read_vocabulary("cat,dog").digest
    others = [Vocabulary(("dog", "cat")), Vocabulary(("cat", "dog"), ()), Vocabulary(("cat dog",))]
    assert len({cats.digest, *(other.digest for other in others)}) == 4


@pytest.mark.parametrize(
    ("names", "says"),
    [
        ("people,dogs,,cars", "vocabulary entry 3 is empty"),
        ("people,", "vocabulary entry 2 is empty"),
        ("", "vocabulary entry 1 is empty"),
        ("dog,red  panda, Red_Panda", "vocabulary entry 3 ('Red_Panda') repeats vocabulary entry 2"),
        ("dog,__background__", "vocabulary entry 2 is __background__"),
        (["dog", "dog"], "vocabulary entry 2 ('dog') repeats vocabulary entry 1"),
        ([], "no names"),
        ("classes", "names no classes"),
        ("[dog,cat]", "without brackets"),
        ("names.csv", "ends in .txt"),
        (__file__, "ends in .txt"),
    ],
)
def test_wrong_entries(names, says):
    with pytest.raises(SettingsError) as error:
        read_vocabulary(names)
    assert says in str(error.value)


def test_wrong_background():
    with pytest.raises(SettingsError, match=r"background entry 2 \('Sea'\) repeats background entry 1"):
        read_vocabulary("dog", "sea,Sea")


def test_files(tmp_path):
    path = tmp_path / "names.txt"
    path.write_bytes("\ufeffdomestic cat\r\nkäfer, rot\r\n\r\n".encode())
    assert read_vocabulary(str(path), "none").names == ("domestic cat", "käfer, rot")
    assert read_vocabulary("dog", str(path)).background == ("domestic cat", "käfer, rot")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"dog\n\ncat\n", "names.txt line 2 is empty"),
        (b"dog\ncat\nDOG", "names.txt line 3 ('DOG') repeats"),
        (b"\n", "names.txt has no names"),
        (b"k\xe4fer\n", "not UTF-8"),
        (None, "can't read the names in"),
    ],
)
def test_wrong_files(tmp_path, content, says):
    path = tmp_path / "names.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SettingsError) as error:
        read_vocabulary(str(path))
    assert says in str(error.value)


def test_classes_of_a_data_set():
    found = read_vocabulary("classes", "sky,dog", classes=["dog", "cat"])
    assert found == Vocabulary(("dog", "cat"), ("sky",))


def test_nothing_heavy_is_imported():
    code = "import stages.labeling.vocabulary, stages.labeling.prompts, sys; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
