from __future__ import annotations

import pytest

from stages.artifacts import lineage


@pytest.mark.parametrize(
    ("shard", "upstream", "first"),
    [
        ("000007-00", "000007", "000007"),
        ("000007-00-03", "000007-00", "000007"),
        ("000007-r01-02", "000007-r01", "000007"),
        ("000007-100", "000007", "000007"),
    ],
)
def test_names_say_where_a_shard_comes_from(shard: str, upstream: str, first: str) -> None:
    assert lineage.above(shard) == upstream
    assert lineage.root(shard) == first


def test_a_first_shard_is_its_own_root_and_has_nothing_above() -> None:
    assert lineage.root("000007") == "000007"
    with pytest.raises(ValueError, match="shard 000007 is of a first stage: nothing is above it"):
        lineage.above("000007")
