from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from stages.report.page.pictures import COLOURS, GREY, STRENGTH, data_uri, overlay, places

PLAIN = np.full((6, 8, 3), 100, np.uint8)


def test_tubes_are_mixed_with_their_colours_and_outlined() -> None:
    labels = np.zeros((6, 8), int)
    labels[:, 4:] = 1
    drawn = overlay(PLAIN, labels)
    for tube, column in ((0, 1), (1, 6)):
        mixed = (1 - STRENGTH) * 100 + STRENGTH * COLOURS[tube].astype(float)
        np.testing.assert_array_equal(drawn[3, column], mixed.round())
    np.testing.assert_array_equal(drawn[:, 4], np.tile(COLOURS[1], (6, 1)))


def test_pixels_without_a_tube_stay_as_they_are() -> None:
    labels = np.full((6, 8), -1)
    np.testing.assert_array_equal(overlay(PLAIN, labels), PLAIN)
    labels[2:4, 2:4] = 0
    drawn = overlay(PLAIN, labels)
    assert (drawn[labels < 0] == 100).all()
    assert (drawn[labels == 0] != 100).any(axis=-1).all()


def test_many_tubes_begin_the_colours_anew() -> None:
    labels = np.full((6, 8), len(COLOURS) + 2)
    np.testing.assert_array_equal(overlay(PLAIN, labels), overlay(PLAIN, np.full((6, 8), 2)))


def test_the_frame_itself_is_not_drawn_on() -> None:
    rgb = PLAIN.copy()
    overlay(rgb, np.zeros((6, 8), int))
    np.testing.assert_array_equal(rgb, PLAIN)


def test_a_picture_comes_back_from_the_page() -> None:
    rgb = np.random.default_rng(0).integers(0, 255, (6, 8, 3), np.uint8)
    head, data = data_uri(rgb).split(",")
    assert head == "data:image/png;base64"
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))), rgb)


def test_tubes_without_names_are_grey() -> None:
    labels = np.zeros((6, 8), int)
    labels[:, 4:] = 1
    drawn = overlay(PLAIN, labels, grey=[1])
    np.testing.assert_array_equal(drawn[:, 4], np.tile(GREY, (6, 1)))
    np.testing.assert_array_equal(drawn[:, :4], overlay(PLAIN, labels)[:, :4])


def test_a_name_goes_where_its_tube_is_widest() -> None:
    """Also where the middle of the tube is not its own: tube 0 is a frame around tube 1, wide on the left."""
    labels = np.zeros((40, 60), int)
    labels[4:36, 30:56] = 1
    labels[0, 0] = 2
    found = places(labels, [0, 1, 2, 7])
    assert set(found) == {0, 1}, "one pixel is no room for a name"
    assert found[1] == (pytest.approx(43 / 60, abs=0.2), pytest.approx(0.5, abs=0.1))
    x, y = found[0]
    assert x < 0.4 and labels[int(40 * y), int(60 * x)] == 0
