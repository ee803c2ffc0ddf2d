"""The page of a real small run: its figures are those of the tables, and names from outside stay text."""

from __future__ import annotations

import json
import re
from html import unescape
from pathlib import Path

import pytest

from stages.artifacts import whole
from stages.report.report_stage import ReportStage
from stages.stage import WorkContext
from tests.measured import Measured

CELL = re.compile(r"<td[^>]*>(.*?)</td>")


@pytest.fixture(scope="module")
def page(measured: Measured) -> str:
    found = whole.current(measured.artifact("report"))
    assert found is not None
    return (found[0] / "report.html").read_text(encoding="utf-8")


def rows(page: str) -> dict[str, list[str]]:
    """Cells of all tables by the first one, without marks."""
    found = {}
    for row in re.findall(r"<tr class='[^']*'>(.*?)</tr>", page):
        first, *cells = [re.sub(r"<[^>]*>.*", "", cell).strip() for cell in CELL.findall(row)]
        found[unescape(first)] = cells
    return found


def test_figures_are_those_of_the_tables(measured: Measured, page: str) -> None:
    found = whole.current(measured.artifact("metrics"))
    assert found is not None
    content = json.loads((found[0] / "metrics.json").read_text())
    shown = rows(page)
    names = {"decoder": "solv · decoder masks", "attention": "solv · attention masks", "one": "one segment"}
    names |= {"blocks": "position blocks", "kmeans": "k-means"}
    for candidate, values in content["values"].items():
        expected = ["–" if v is None else f"{100 * v:.1f}" for v in values.values()]
        assert shown[names[candidate]] == expected
    assert shown["SOLV, published"][:2] == ["45.3", "29.1"]


def test_names_from_the_data_are_text(page: str) -> None:
    assert "<b> size" not in page
    assert "other &lt;b&gt; size/00000.png" in page


def test_no_number_on_the_page_is_nan(page: str) -> None:
    text = re.sub(r"<(style|script)>.*?</\1>|src='[^']*'", "", page, flags=re.DOTALL)
    assert not re.search(r"(?<![\w.])-?(nan|inf)\b", text, re.IGNORECASE)


def test_the_page_is_one_file_that_asks_for_nothing(measured: Measured, page: str) -> None:
    found = whole.current(measured.artifact("report"))
    assert found is not None
    assert [path.name for path in found[0].iterdir()] == ["report.html"]
    assert not re.search(r"(src|href)='(?!data:)", page)


def test_a_run_that_measured_nothing_has_a_page_too(measured: Measured, tmp_path: Path) -> None:
    """As the recipe segment leaves it: no figures, the first videos drawn, and the rejects."""
    inputs = {kind: str(measured.artifact(kind)) for kind in ("catalog", "features", "tubes")}
    context = WorkContext(str(measured.data), tmp_path, inputs=inputs)
    ReportStage().make((), tmp_path, context)
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<h2>Figures</h2>" not in text
    assert "<h2>Rejects (1)</h2>" in text
    assert text.count("<img") == 3 * 5
