"""Words for localised objects, counted by hand."""

import numpy as np
import pytest

from stages.metrics.box_protocols import FoundVideo, gather, pooled
from stages.metrics.words import WordFrame, chance, counts, is_right, majority, right
from tests.stages.metrics.making_boxes import frame

A, B, C = (0, 0, 10, 10), (20, 0, 30, 10), (40, 0, 50, 10)
NAMES = ("red", "star", "blue disc", "dog")
RED_STAR, BLUE_STAR = ("red", "star"), ("blue", "star")


def test_one_word_of_a_name_is_enough():
    assert is_right("red", RED_STAR) and is_right("a Star", RED_STAR) and is_right("blue disc", BLUE_STAR)
    assert not is_right("redder", RED_STAR) and not is_right("unnamed", RED_STAR)
    assert not is_right(None, RED_STAR) and not is_right("red", ())


def test_the_box_that_overlaps_most_speaks_for_an_object():
    """Of three objects one is called red, one dog, and one isn't localised; a worse box says nothing."""
    worse = (0, 0, 10, 14)
    one = WordFrame(
        frame([A, B, C], [worse, A, B, (40, 0, 45, 10)]), [RED_STAR, BLUE_STAR, RED_STAR],
        ["dog", "red", "dog", "red"],
    )  # fmt: skip
    assert right([one]).tolist() == [1.0, 0.0]
    assert chance([one], NAMES).tolist() == [0.5, 0.5]
    assert counts([one], NAMES).tolist() == [[2, 1, 2, 1, 0]]
    assert majority(counts([one], NAMES)) == 1.0


def test_figures_are_of_the_data_set():
    """The best name of all, blue disc for 4 of 5, is not that of the first video, red for 2 of 2."""
    first = WordFrame(frame([A, B], [A, B]), [("red", "box"), ("red", "disc")], ["red", "dog"])
    second = WordFrame(frame([A, B, C], [A, B, C]), [BLUE_STAR] * 3, ["star", "star", None])
    videos = [FoundVideo(called=[one], names=NAMES) for one in (first, second)]
    found = {}
    for name in ("word@sprites", "word-chance@sprites", "word-majority@sprites"):
        found[name] = pooled(name, [gather([name], video)[0].rows for video in videos])
    assert found["word@sprites"] == pytest.approx(3 / 5)
    assert found["word-chance@sprites"] == pytest.approx((1 / 4 + 2 / 4 + 3 * 2 / 4) / 5)
    assert found["word-majority@sprites"] == pytest.approx(4 / 5)


def test_nothing_localised_and_no_words():
    unknown = WordFrame(frame([A], [A]), [], ["red"])
    for empty in ([], [unknown], [WordFrame(frame([A], [C]), [RED_STAR], ["red"])]):
        assert right(empty).shape == chance(empty, NAMES).shape == (0,)
        assert counts(empty, NAMES).shape == (0, 5)
    assert majority(np.zeros((0, 5))) is None
