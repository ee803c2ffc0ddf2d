"""The pages' text, parsed as a browser would; how they look is in tests/browser."""

from __future__ import annotations

import dataclasses
import json
import re
from html.parser import HTMLParser

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
from stages.report.page.render import MOST, render, render_comparison

NAN = float("nan")
EVIL = "<img src=x onerror='alert(1)'>&\"</script>"
EMPTY = Report(title="t", created="2026-01-01", recipe="r", primary="miou@solv")
PROTOCOLS = (("miou@solv", "mean IoU"), ("fgari@video", "Rand index"))


def test_words_of_a_trained_clip() -> None:
    words = [MetricRow("colour", {"right": 0.956, "chance": 1 / 17, "majority": 0.072})]
    page = Page(render(dataclasses.replace(EMPTY, words=words)))
    assert [["colour", "95.6", "5.9", "7.2"]] in [table[-1:] for table in page.tables]
    assert "Words that" not in Page(render(EMPTY)).text


class Page(HTMLParser):
    """What a page holds: tags, the cells of its tables, and its visible text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self.tables: list[list[list[str]]] = []
        self.data: list[str | None] = []
        self._inside: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        self._inside.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in {"td", "th"}:
            self.tables[-1][-1].append("")
            if tag == "td":
                self.data.append(dict(attrs).get("data-value"))

    def handle_endtag(self, tag: str) -> None:
        while self._inside and self._inside.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if {"style", "script"} & set(self._inside):
            return
        self.text += data
        if {"td", "th"} & set(self._inside):
            self.tables[-1][-1][-1] += data


def figures(*rows: MetricRow, **changes: object) -> Page:
    return Page(render(dataclasses.replace(EMPTY, protocols=PROTOCOLS, rows=rows, **changes)))  # type: ignore[arg-type]


def everywhere(text: str) -> Report:
    """A report with ``text`` in every place that names come from outside."""
    picture = (np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), int))
    tube = TubeLine(0, 1, text, 0.5, [(text, 0.5)], [0], text)
    return Report(
        title=text, created=text, recipe=text, primary=text,
        stages=[StageLine(text, text, text, text, 1.0, 1, 1, 1, 1, 1, 1)],
        protocols=[(text, text)],
        rows=[MetricRow(text, {text: 0.1}, trained=True, source=text), MetricRow(text, {text: 0.2})],
        curves=[Curve(text, [(0, 1.0)])],
        overlays=[Overlay(text, text, text, [picture], [text], [tube])],
        naming=Naming([LabelLine(text, 1, 1, 1, 0.5)], 1, [(text, text)], text),
        rejects=[RejectLine(text, text, text, text)],
        config={text: text}, fingerprints={text: text}, versions={text: text}, notes=[text],
        videos=[VideoLine(text, {text: 0.1})],
    )  # fmt: skip


def test_names_are_text_wherever_they_stand() -> None:
    report = everywhere(EVIL)
    page, harmless = Page(render(report)), Page(render(everywhere("name")))
    assert page.tags == harmless.tags
    assert [name for name, _ in page.attributes] == [name for name, _ in harmless.attributes]
    assert page.text.count(EVIL) >= 25
    assert "onerror" not in {name for name, _ in page.attributes}


def test_random_weights_are_said_before_anything_else() -> None:
    naming = Naming([LabelLine("dog", 1, 1, 1, 0.5)], 1, warning="THE NAMES MEAN NOTHING: x")
    text = render(dataclasses.replace(EMPTY, naming=naming, notes=["other"]))
    assert text.count("role='alert'") == 1
    assert text.index("THE NAMES MEAN NOTHING") < text.index("other") < text.index("<h2>")
    assert "role='alert'" not in render(
        dataclasses.replace(EMPTY, naming=dataclasses.replace(naming, warning=None))
    )


def test_a_page_fetches_nothing() -> None:
    links = [value for name, value in Page(render(everywhere("x"))).attributes if name in {"src", "href"}]
    assert links
    assert all(value.startswith("data:") for value in links)


def test_a_run_without_figures_has_no_empty_tables_or_charts() -> None:
    page = Page(render(EMPTY))
    assert page.tables == []
    assert "Rejects (0)None." in page.text
    assert {"Figures", "Tubes", "Training", "Videos"}.isdisjoint(re.findall(r"[A-Z][a-z]+", page.text))


def test_missing_figures_are_dashes_and_sort_last() -> None:
    page = figures(MetricRow("a", {"miou@solv": 0.5, "fgari@video": None}), MetricRow("b", {}))
    assert page.tables[0] == [["candidate", *dict(PROTOCOLS)], ["a", "50.0", "–"], ["b", "–", "–"]]
    assert page.data == [None, "0.500000", "", None, "", ""]


@pytest.mark.parametrize("bad", [NAN, float("inf"), float("-inf")])
def test_what_is_no_number_is_shown_as_missing(bad: float) -> None:
    own = MetricRow("a", {"miou@solv": bad, "fgari@video": 0.1}, trained=True)
    rows = [own, MetricRow("b", {"miou@solv": bad})]
    page = figures(*rows, videos=[VideoLine("v", {"miou@solv": bad})], curves=[Curve("loss", [(0, bad)])])
    assert page.tables[0][1:] == [["a", "–", "10.0"], ["b", "–", "–"]]
    assert page.tables[1][1:] == [["v", "–", "–"]]
    assert not re.search(r"\b(nan|inf)\b", page.text, re.IGNORECASE)
    assert {"svg", "figure"}.isdisjoint(page.tags)
    assert "Training" not in page.text


def test_a_comparison_shows_no_nan_either() -> None:
    rows = [
        ComparisonRow("a", 2, {"miou@solv": NAN, "fgari@video": 0.5}, {"miou@solv": NAN, "fgari@video": NAN}),
        ComparisonRow("b", 3, {"miou@solv": 0.2}, {"miou@solv": 0.05}),
    ]
    page = Page(render_comparison(Comparison("2 runs", ["x", EVIL], PROTOCOLS, rows)))
    assert page.tables[0][1:] == [["a", "2", "–", "50.0"], ["b", "3", "20.0 ± 5.0", "–"]]
    assert EVIL in page.text


def test_a_trained_row_below_a_trivial_one_is_marked_with_the_best_of_them() -> None:
    rows = [
        MetricRow("solv", {"miou@solv": 0.2, "fgari@video": 0.9}, trained=True),
        MetricRow("k-means", {"miou@solv": 0.3, "fgari@video": 0.1}),
        MetricRow("blocks", {"miou@solv": 0.4, "fgari@video": 0.1}),
        MetricRow("paper", {"miou@solv": 0.9}, published=True, source="SOLV"),
    ]
    table = figures(*rows).tables[0]
    assert table[1] == ["solv", "20.0 below blocks", "90.0"]
    assert table[2] == ["k-means", "30.0", "10.0"]
    assert table[4] == ["paper (SOLV)", "90.0", "–"]


def test_equal_is_not_below() -> None:
    rows = [MetricRow("solv", {"miou@solv": 0.2}, trained=True), MetricRow("one", {"miou@solv": 0.2})]
    assert figures(*rows).tables[0][1][1] == "20.0"


def test_long_lists_are_capped_and_say_so() -> None:
    lines = [RejectLine("decode", f"v{n}", "truncated", "ends early") for n in range(MOST + 5)]
    page = Page(render(dataclasses.replace(EMPTY, rejects=lines)))
    assert len(page.tables[0]) == MOST + 1
    assert f"Rejects ({MOST + 5})The first {MOST} of {MOST + 5}." in page.text
    exact = Page(render(dataclasses.replace(EMPTY, rejects=lines[:MOST])))
    assert "The first" not in exact.text


def test_settings_can_be_read_back() -> None:
    config = {"data": {"root": "/vidéos/<a>&b"}, "train": {"rate": 1e-4}}
    page = Page(render(dataclasses.replace(EMPTY, config=config)))
    shown = page.text.partition("Settings")[2]
    assert json.loads(shown) == config


def test_the_flow_tells_made_from_found() -> None:
    line = StageLine("features", "vit", "/s", "abc", 1234.56, 1000, 24, 3, 2, 3 * 2**20, 123_456)
    text = Page(render(dataclasses.replace(EMPTY, stages=[line]))).text
    shown = ("made in this run1,000", "found made24", "skipped3", "rejected2", "frames123,456", "size3.0 MiB")
    assert [part for part in (*shown, "seconds of work1,234.6") if part not in text] == []
