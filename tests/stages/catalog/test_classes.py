"""Names of classes."""

import pytest

from stages.catalog.classes import IMAGENET_VID, YTVIS, class_index, class_names
from stages.errors import SettingsError


def test_names():
    assert (len(IMAGENET_VID), len(set(class_names("imagenet_vid")))) == (30, 30)
    assert (len(YTVIS), len(set(class_names("ytvis")))) == (40, 40)
    assert class_names("imagenet_vid")[0] == "airplane" and class_names("imagenet_vid")[29] == "zebra"
    assert class_names("sprites")[0] == "red" and len(class_names("sprites")) == 17
    assert all(len(wordnet) == 9 and wordnet[0] == "n" for wordnet in IMAGENET_VID)


def test_spellings_of_a_name_are_one():
    assert class_index("Giant_panda", YTVIS) == class_index("giant  panda", YTVIS) == 1
    assert class_index("panda", YTVIS) is None


def test_a_data_set_without_classes():
    says = "data.kind=davis has no classes.*imagenet_vid, sprites, ytvis have"
    with pytest.raises(SettingsError, match=says):
        class_names("davis")
