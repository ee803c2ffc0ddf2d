import math

import numpy as np
import pytest

from stages.metrics.statistics import statistics


def test_by_hand():
    """Eight frames: quarters end at frames 0, 2, 4, 5, 7 (1, 2.75, 4.5, 6.25, 8 rounded), ends included."""
    found = statistics(np.array([0.9, 0.7, 0.5, 0.5, 0.5, 0.3, 0.2, 0.1]))
    assert found.mean == pytest.approx(3.7 / 8)
    assert found.recall == 2 / 8
    assert found.decay == pytest.approx((0.9 + 0.7 + 0.5) / 3 - (0.3 + 0.2 + 0.1) / 3)


def test_one_frame():
    found = statistics(np.array([0.6]))
    assert (found.mean, found.recall, found.decay) == (0.6, 1.0, 0.0)


def test_limits_in_eight_bits_wrap():
    curve = np.linspace(1, 0, 300)
    assert statistics(curve).decay == pytest.approx(0.75, abs=0.01)
    assert math.isnan(statistics(curve, decay_uint8_bug=True).decay)
    assert statistics(curve[:256]) == statistics(curve[:256], decay_uint8_bug=True)
    longer = np.linspace(1, 0, 900)
    assert statistics(longer, decay_uint8_bug=True).decay != pytest.approx(statistics(longer).decay, abs=0.1)


@pytest.mark.parametrize("curve", [np.array([]), np.array([0.5, np.nan]), np.zeros((2, 2))])
def test_bad_curves(curve):
    with pytest.raises(ValueError, match="finite values"):
        statistics(curve)
