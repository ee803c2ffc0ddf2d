from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from stages.report.page.charts import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, chart
from stages.report.page.model import Curve

NAN, INFINITE = float("nan"), float("inf")


def drawn(*points: tuple[int, float], name: str = "loss") -> ElementTree.Element:
    """The figure as XML, so that whatever is not well-formed fails."""
    return ElementTree.fromstring(chart(Curve(name, points)))


def dots(figure: ElementTree.Element) -> list[tuple[float, float]]:
    return [(float(c.attrib["cx"]), float(c.attrib["cy"])) for c in figure.iter("circle")]


def test_points_lie_where_their_values_are() -> None:
    figure = drawn((0, 2.0), (5, 3.0), (10, 4.0))
    assert dots(figure) == [
        (LEFT, HEIGHT - BOTTOM),
        ((LEFT + WIDTH - RIGHT) / 2, (TOP + HEIGHT - BOTTOM) / 2),
        (WIDTH - RIGHT, TOP),
    ]
    assert [t.text for t in figure.iter("text")] == ["2", "3", "4", "0", "step 10"]
    assert [t.text for t in figure.iter("title")] == ["step 0: 2", "step 5: 3", "step 10: 4"]


def test_an_axis_starts_at_zero_where_that_hides_nothing() -> None:
    assert next(drawn((0, 0.1), (1, 1.0)).iter("text")).text == "0"
    assert next(drawn((0, -1.0), (1, 1.0)).iter("text")).text == "-1"


@pytest.mark.parametrize("points", [(), ((0, NAN),), ((0, INFINITE), (1, -INFINITE), (2, NAN))])
def test_nothing_finite_gives_no_chart(points: tuple[tuple[int, float], ...]) -> None:
    assert chart(Curve("loss", points)) == ""


def test_values_that_are_no_number_are_left_out() -> None:
    figure = drawn((0, 1.0), (1, NAN), (2, INFINITE), (3, 4.0))
    assert [t.text for t in figure.iter("title")] == ["step 0: 1", "step 3: 4"]
    assert not re.search(r"\b(nan|inf)\b", ElementTree.tostring(figure, "unicode"), re.IGNORECASE)


@pytest.mark.parametrize("points", [((0, 0.0),), ((0, 0.3), (9, 0.3)), ((4, -2.0),)])
def test_a_flat_or_single_curve_stays_in_the_frame(points: tuple[tuple[int, float], ...]) -> None:
    for x, y in dots(drawn(*points)):
        assert LEFT <= x <= WIDTH - RIGHT
        assert TOP <= y <= HEIGHT - BOTTOM


def test_names_are_text() -> None:
    figure = drawn((0, 1.0), name='<b a="1">&')
    caption = figure.find("figcaption")
    assert caption is not None
    assert caption.text == '<b a="1">&'
    picture = figure.find("svg")
    assert picture is not None
    assert picture.attrib["aria-label"] == '<b a="1">& by step'
