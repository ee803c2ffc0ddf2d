"""Names of splits in settings."""

import pytest

from stages.catalog.errors import CatalogError
from stages.catalog.splits import refuse_unknown, refuse_unscored, split_names


def test_names():
    assert split_names(None) is split_names("all") is None
    assert split_names("train") == ["train"]
    assert split_names("train+val, test") == ["train", "val", "test"]


def test_what_is_refused():
    refuse_unknown("data.split", ["val"], ["train", "val"], "x")
    with pytest.raises(CatalogError, match="x has no 'test' for data.split=val.test; it has train, val, all"):
        refuse_unknown("data.split", ["val", "test"], ["train", "val"], "x")
    refuse_unscored("val", None, 1)
    with pytest.raises(CatalogError, match="data.scored=val has no video among those of data.split=all"):
        refuse_unscored("val", None, 0)
