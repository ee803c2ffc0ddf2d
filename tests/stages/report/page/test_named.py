"""Names on the page's text; how they look is in tests/browser."""

from __future__ import annotations

import dataclasses
import re

import numpy as np

from stages.report.page.model import LabelLine, Naming, Overlay, TubeLine
from stages.report.page.named import MOST_KEY, MOST_LABELS, MOST_TUBES, names_section, strip
from stages.report.page.pictures import COLOURS, GREY
from tests.stages.report.page.test_render import Page

LEFT, RIGHT = (
    TubeLine(3, 2, "zebra", 0.71, [("zebra", 0.71), ("cow", 0.2)], [3, 5]),
    TubeLine(0, 2, "unnamed"),
)
LABELS = np.full((20, 40), 3)
LABELS[:, 30:] = 0
SHOWN = Overlay(
    "v", "best", "1", [(np.zeros((20, 40, 3), np.uint8), LABELS)] * 2, ["0 s", "1 s"], [LEFT, RIGHT]
)


def css(colour: np.ndarray) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour.tolist())


def test_a_name_stands_on_its_tube_and_in_the_key_with_its_colour() -> None:
    html = strip(SHOWN)
    placed = r"left:([\d.]+)%;top:([\d.]+)%;transform:translate\(-\1%,-\2%\);border-color:(#\w+)"
    spots = re.findall(rf"<span class='spot' style='{placed}'>", html)
    assert len(spots) == 2, "one a frame: no name, no label on the picture"
    x, y, colour = spots[0]
    assert LABELS[int(20 * float(y) / 100), int(40 * float(x) / 100)] == 3
    assert colour == css(COLOURS[3])
    assert re.findall(r"<i style='background:(#\w+)'>", html) == [css(COLOURS[3]), css(GREY)]
    assert "zebra 71.0unnamed –" in Page(html).text


def test_tubes_without_names_have_no_key() -> None:
    assert "class='key'" not in strip(dataclasses.replace(SHOWN, tubes=()))
    assert "<img" in strip(dataclasses.replace(SHOWN, tubes=()))


def test_tables_say_what_there_is() -> None:
    lines = [LabelLine("zebra", 1200, 30, 5000, 0.5), LabelLine("unnamed", 10, 3, 20, None)]
    page = Page(names_section(Naming(lines, 40, [("named by", "CLIP")]), [SHOWN]))
    assert page.tables[0] == [
        ["name", "tubes", "videos", "frames", "mean score"],
        ["zebra", "1,200", "30", "5,000", "50.0"],
        ["unnamed", "10", "3", "20", "–"],
    ]
    assert page.data[:5] == [None, "1200", "30", "5000", "0.500000"], "numbers sort as numbers"
    assert page.tables[1][1:] == [
        ["v", "3", "zebra", "71.0", "2", "zebra 71.0, cow 20.0", "", "3, 5"],
        ["v", "0", "unnamed", "–", "2", "", "", ""],
    ]
    assert "1,210 tubes in 40 videos; 1,200 have a name." in page.text
    assert "named byCLIP" in page.text


def test_long_lists_are_cut_and_say_what_is_left() -> None:
    lines = [LabelLine(f"n{i}", 3, 1, 1, 0.5) for i in range(MOST_LABELS + 7)]
    tubes = [TubeLine(i, 1, "n", 0.5) for i in range(MOST_TUBES + 1)]
    shown = dataclasses.replace(SHOWN, tubes=tubes)
    page = Page(names_section(Naming(lines, 1), [shown]))
    assert (len(page.tables[0]), len(page.tables[1])) == (MOST_LABELS + 1, MOST_TUBES + 1)
    assert "And 7 more names with 21 tubes." in page.text
    assert f"The first {MOST_TUBES} of {MOST_TUBES + 1}." in page.text
    assert f"and {MOST_TUBES + 1 - MOST_KEY} smaller tubes" in Page(strip(shown)).text
