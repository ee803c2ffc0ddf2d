import numpy as np
import pytest

from stages.metrics.confusion import confusion
from stages.metrics.foreground import (
    border_contact,
    choose_foreground,
    j_davis16,
    oracle_j,
    tube_areas,
    tube_j,
)
from tests.stages.metrics.making import rows


def nested():
    """Tube 0 around tube 1 around tube 2, two frames of 12 x 12."""
    maps = np.zeros((2, 12, 12), int)
    maps[:, 2:10, 2:10] = 1
    maps[:, 5:7, 5:7] = 2
    return maps


def test_border_and_area():
    maps = nested()
    maps[0, 0, :6] = 1
    maps[1, 0, 0] = -1
    assert border_contact(maps).tolist() == pytest.approx([(88 - 7) / 88, 6 / 88, 0.0])
    assert tube_areas(maps).tolist() == [2 * 80 - 7, 2 * 60 + 6, 8]


def test_least_contact_then_area_then_id():
    maps = nested()
    assert choose_foreground(maps) == 1
    maps[0, 0, 0] = 1
    assert choose_foreground(maps) == 2
    twins = np.full((1, 8, 8), 7)
    twins[0, 2, 2:4], twins[0, 4, 2:4] = 3, 5
    assert choose_foreground(twins) == 3


def test_specks_are_no_foreground():
    maps = np.zeros((1, 40, 40), int)
    maps[0, 10:30, :20] = 1
    maps[0, 20, 30:36] = 2
    assert choose_foreground(maps) == 1
    scattered = np.full((1, 40, 40), -1)
    scattered[0, 0, 0], scattered[0, 20, 20] = 0, 4
    assert choose_foreground(scattered) == 4


def test_no_tube_at_all():
    assert choose_foreground(np.full((1, 4, 4), -1)) == -1


def test_j_by_hand():
    truth = rows("01200", "00000", "00110")
    foreground = rows("01110", "00000", "11000") == 1
    assert j_davis16(foreground, truth) == pytest.approx((2 / 3 + 1 + 0) / 3)
    assert j_davis16(foreground, np.zeros_like(truth)) is None
    void = rows("00010", "00000", "00000") == 1
    assert j_davis16(foreground, truth, void) == pytest.approx((1 + 1 + 0) / 3)


def test_bad_foreground():
    truth = rows("0110")
    with pytest.raises(ValueError, match="must be bool"):
        j_davis16(truth, truth)
    with pytest.raises(ValueError, match="same frames at the same size"):
        j_davis16(truth[:, :, :2] == 1, truth)


def test_best_tube():
    truth = rows("0110", "0330", "0000")
    prediction = rows("0112", "0222", "1111")
    found = confusion(prediction, truth)
    assert tube_j(found).tolist() == [
        pytest.approx([0, 1, 0]),
        pytest.approx([0, 0, 2 / 3]),
        pytest.approx([1, 0, 1]),
    ]
    assert oracle_j(found) == pytest.approx((0 + 2 / 3 + 1) / 3)
    assert oracle_j(found, per_frame=True) == pytest.approx((1 + 2 / 3 + 1) / 3)
    assert oracle_j(found) == max(j_davis16(prediction == k, truth) for k in range(3))


def test_oracle_without_tubes_or_objects():
    assert oracle_j(confusion(rows("....", "...."), rows("0110", "0000"))) == 0.5
    assert oracle_j(confusion(rows("0000"), rows("0000"))) is None
