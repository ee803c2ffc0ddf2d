"""The pages in a real browser."""

import numpy as np
import pytest

from stages.report.page.model import (
    Comparison,
    ComparisonRow,
    Curve,
    MetricRow,
    Overlay,
    RejectLine,
    Report,
    StageLine,
    VideoLine,
)
from stages.report.page.render import render, render_comparison

EVIL = "<script>console.error('in')</script>&'\".mp4"


def example():
    rng = np.random.default_rng(0)
    frames = [(rng.integers(0, 255, (48, 64, 3), np.uint8), rng.integers(-1, 3, (48, 64))) for _ in range(3)]
    protocols = [("miou@solv", "mean IoU"), ("fgari@video", "Rand index")]
    return Report(
        title=f"run on {EVIL}",
        created="2026-01-01",
        recipe="r",
        primary="miou@solv",
        stages=[StageLine("features", "vit", "/s", "abc", 1.5, 3, 4, 0, 1, 2**21, 300)] * 4,
        protocols=protocols,
        rows=[
            MetricRow("solv · decoder masks", {"miou@solv": 0.2, "fgari@video": 0.5}, trained=True),
            MetricRow("k-means", {"miou@solv": 0.3, "fgari@video": 0.4}),
            MetricRow("one segment", {"miou@solv": 0.1, "fgari@video": None}),
            MetricRow("paper", {"miou@solv": 0.453}, published=True, source="SOLV"),
        ],
        curves=[Curve("loss", [(i, 1 / (i + 1)) for i in range(100)])],
        overlays=[Overlay(EVIL, "best", "miou@solv 0.9", frames, ["0 s", "1 s", "2 s"])],
        rejects=[RejectLine("catalog", f"{EVIL}{i}", "truncated", "ends early " * 20) for i in range(250)],
        config={"data": {"root": EVIL}},
        fingerprints={"catalog": "x-1"},
        versions={"torch": "2"},
        notes=["solv is below k-means."],
        videos=[VideoLine(f"v{i}", {"miou@solv": i / 10}) for i in range(5)],
    )


@pytest.fixture
def page_file(tmp_path):
    path = tmp_path / "report.html"
    path.write_text(render(example()), encoding="utf-8")
    return path


def test_figures_are_shown_and_marked(opened, page_file):
    page = opened(page_file)
    row = page.locator("tr.own").first
    assert row.locator("td").nth(1).inner_text() == "20.0 below k-means"
    assert row.locator("td").nth(2).inner_text() == "50.0"
    assert page.locator("tr.published").first.locator("td").nth(1).inner_text() == "45.3"
    assert page.locator("img").evaluate_all("all => all.every(i => i.complete && i.naturalWidth == 64)")
    assert page.locator("img").count() == 3
    assert page.locator("text=The first 200 of 250.").count() == 1


def test_names_are_text_and_never_markup(opened, page_file):
    page = opened(page_file)
    assert page.locator("h1").inner_text() == f"run on {EVIL}"
    assert page.locator("script").count() == 1


def test_a_click_sorts_and_another_turns_the_order(opened, page_file):
    page = opened(page_file)
    table = page.locator("table").first
    column = lambda: [c.inner_text() for c in table.locator("tbody tr td:first-child").all()]  # noqa: E731
    table.locator("th button").nth(1).click()
    assert [name.split(" ")[0] for name in column()] == ["paper", "k-means", "solv", "one"]
    table.locator("th button").nth(1).click()
    assert [name.split(" ")[0] for name in column()] == ["one", "solv", "k-means", "paper"]


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_sticks_out(opened, page_file, width, scheme):
    page = opened(page_file, width, scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(18, 22, 29)") == (scheme == "dark")


def test_comparison(opened, tmp_path):
    path = tmp_path / "compare.html"
    rows = [
        ComparisonRow("solv · decoder", 3, {"miou@solv": 0.5}, {"miou@solv": 0.02}),
        ComparisonRow("kmeans", 1, {"miou@solv": 0.4}, {"miou@solv": None}),
    ]
    path.write_text(render_comparison(Comparison("2 runs", ["a", EVIL], [("miou@solv", "mean IoU")], rows)))
    page = opened(path)
    assert page.locator("tbody tr").first.inner_text().split("\t") == ["solv · decoder", "3", "50.0 ± 2.0"]
    assert page.locator("li").nth(1).inner_text() == EVIL
