"""Which class stands behind a kind, and what is refused before anything runs."""

import pytest

from stages.catalog.davis import DavisSet
from stages.catalog.errors import CatalogError
from stages.catalog.listing import dataset_class, identity, list_items, truth_rule
from stages.catalog.spec import KINDS, DataSpec
from tests.layouts import make_davis


def test_every_kind_has_a_class_and_its_fields_exist():
    for kind in KINDS:
        assert set(dataset_class(kind).uses) <= set(DataSpec.__dataclass_fields__), kind
        assert identity(DataSpec(kind=kind))["kind"] == kind
    assert dataset_class("stages.catalog.davis:DavisSet") is DavisSet


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("nowhere.at_all:Class", "No module named 'nowhere'"),
        ("stages.catalog.davis:Missing", "has no attribute 'Missing'"),
        ("stages.catalog.davis:np", "np is not a subclass"),
    ],
)
def test_classes_that_are_none(kind, says):
    with pytest.raises(ValueError, match=says):
        dataset_class(kind)


def test_items_are_sorted(tmp_path):
    root = make_davis(tmp_path, {"train": ["b", "c"], "val": ["a"]}, frames=1)
    assert [row["uri"][-1] for row in list_items(DataSpec(kind="davis"), str(root))] == ["a", "b", "c"]


def test_ground_truth_of_one_item_is_enough_to_score(tmp_path):
    root = make_davis(tmp_path, {"train": ["a", "b"]}, frames=1)
    spec = DataSpec(kind="davis")
    items = list_items(spec, str(root))
    (root / "Annotations/480p/a").rename(root / "a")
    assert truth_rule(spec, str(root), items) == "davis2017"
    (root / "Annotations/480p/b").rename(root / "b")
    with pytest.raises(CatalogError, match="none of the 2 items listed has ground truth.*docs/datasets.md"):
        truth_rule(spec, str(root), items)
