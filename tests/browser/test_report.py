"""The pages in a real browser."""

import numpy as np
import pytest

from stages.report.page.model import (
    Comparison,
    ComparisonRow,
    Curve,
    LabelLine,
    MetricRow,
    Naming,
    Overlay,
    RejectLine,
    Report,
    StageLine,
    TubeLine,
    VideoLine,
)
from stages.report.page.render import render, render_comparison

EVIL = "<script>console.error('in')</script>&'\".mp4"


def example():
    rng = np.random.default_rng(0)
    blocks = np.kron(np.array([[0, 1], [0, 2]]), np.ones((24, 32), int))
    named = [(rng.integers(0, 255, (48, 64, 3), np.uint8), blocks)]
    tubes = [
        TubeLine(0, 1, EVIL, 0.9, [(EVIL, 0.9), ("cow", 0.1)], [0, 4]),
        TubeLine(1, 1, "a rather long name of a thing that is hardly ever seen", 0.4),
        TubeLine(2, 1, "unnamed", background="grass"),
    ]
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
        overlays=[
            Overlay(EVIL, "best", "miou@solv 0.9", frames, ["0 s", "1 s", "2 s"]),
            Overlay("park@mp4", "worst", "", named, ["0 s"], tubes),
        ],
        naming=Naming(
            [
                LabelLine("dog", 20, 3, 90, 0.8),
                LabelLine("cow", 3, 3, 9, 0.9),
                LabelLine("unnamed", 9, 2, 8, None),
            ],
            5,
            [("named by", "CLIP")],
            "THE NAMES MEAN NOTHING: random weights",
        ),
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
    assert page.locator("img").count() == 4
    assert page.locator("text=The first 200 of 250.").count() == 1


def test_names_are_text_and_never_markup(opened, page_file):
    page = opened(page_file)
    assert page.locator("h1").inner_text() == f"run on {EVIL}"
    assert page.locator("script").count() == 1


def test_names_stand_on_their_tubes_and_in_the_key(opened, page_file):
    page = opened(page_file)
    spots = page.locator(".spot")
    assert [spots.nth(i).inner_text() for i in range(2)] == [
        EVIL,
        "a rather long name of a thing that is hardly ever seen",
    ]
    assert spots.count() == 2, "what has no name has none on the picture"
    picture = page.locator("img").last.bounding_box()
    for number, (left, top) in enumerate([(0, 0.5), (0.5, 0.25)]):
        box = spots.nth(number).bounding_box()
        middle = ((box["x"] + box["width"] / 2 - picture["x"]) / picture["width"],
                  (box["y"] + box["height"] / 2 - picture["y"]) / picture["height"])  # fmt: skip
        assert left < middle[0] < left + 0.5 and abs(middle[1] - top) < 0.26
        assert box["x"] >= picture["x"] and box["x"] + box["width"] <= picture["x"] + picture["width"] + 0.5
    key = page.locator(".key li")
    assert [key.nth(i).inner_text() for i in range(3)] == [
        f"{EVIL} 90.0", "a rather long name of a thing that is hardly ever seen 40.0", "unnamed –",
    ]  # fmt: skip
    colours = page.locator(".key i").evaluate_all("all => all.map(i => getComputedStyle(i).backgroundColor)")
    assert colours == ["rgb(230, 159, 0)", "rgb(86, 180, 233)", "rgb(150, 150, 150)"]


def test_names_of_the_corpus_are_sorted_and_the_warning_is_loud(opened, page_file):
    page = opened(page_file)
    alert = page.get_by_role("alert")
    assert alert.inner_text() == "THE NAMES MEAN NOTHING: random weights" and alert.is_visible()
    table = page.locator("section", has=page.locator("h2", has_text="Names")).locator("table").first
    table.locator("th button").nth(4).click()
    assert [c.inner_text() for c in table.locator("tbody tr td:first-child").all()] == [
        "cow",
        "dog",
        "unnamed",
    ]


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
