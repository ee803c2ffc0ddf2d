from __future__ import annotations

from configs.compose import recipes
from stages.metrics.protocols import PROTOCOLS
from stages.report.published import PUBLISHED, published_rows


def test_recipes_and_protocols_exist() -> None:
    assert set(PUBLISHED) <= {recipe.name for recipe in recipes()}
    for rows in PUBLISHED.values():
        for name, source, values in rows:
            assert name and source
            assert set(values) <= set(PROTOCOLS)
            assert all(0 < value < 1 for value in values.values()), "figures are fractions"


def test_only_figures_of_measured_protocols_are_shown() -> None:
    rows = published_rows("solv_ytvis", ["fgari@solv", "mbo@video"])
    assert [row.values for row in rows] == [{"fgari@solv": 0.2911}, {"fgari@solv": 0.1619}]
    assert all(row.published and row.source and not row.trained for row in rows)


def test_nothing_is_made_up() -> None:
    assert published_rows("solv_ytvis", ["mbo@video"]) == []
    assert published_rows("quickstart", PROTOCOLS) == []
    assert published_rows("", []) == []
