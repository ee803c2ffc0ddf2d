"""Values of the schedules at their corners."""

import math
from itertools import pairwise

import pytest

from stages.learning.schedules import constant, cosine, warmup_exponential, warmup_halving

PEAK = 4e-4


def test_published_corners():
    """4e-9 at the first step, the peak after warm-up, an eighth of it at the end."""
    steps = 300_000
    assert math.isclose(PEAK * warmup_exponential(0, steps), 4e-9, rel_tol=1e-9)
    assert math.isclose(PEAK * warmup_exponential(15_000, steps), PEAK)
    assert math.isclose(PEAK * warmup_exponential(steps - 1, steps), 5e-5, rel_tol=1e-3)


def test_the_warm_up_is_linear_and_then_every_third_halves():
    steps = 2_000  # warm-up 100, thirds of 633
    rates = [warmup_exponential(step, steps) for step in range(steps)]
    rises = [b - a for a, b in pairwise(rates[:101])]
    assert max(rises) - min(rises) < 1e-12
    assert all(b < a for a, b in pairwise(rates[100:]))
    assert [round(rates[100 + third * 633], 12) for third in range(3)] == [1, 0.5, 0.25]


@pytest.mark.parametrize("steps", [1, 2, 3, 5, 19, 20, 21])
def test_short_trainings_have_rates_all_the_same(steps):
    rates = [warmup_exponential(step, steps) for step in range(steps)]
    assert all(0 < rate <= 1 for rate in rates) and max(rates) == 1


def test_cosine_and_constant():
    assert cosine(0, 10, 0.1) == 1
    assert math.isclose(cosine(5, 10, 0.1), 0.55)
    assert math.isclose(cosine(10, 10, 0.1), 0.1)
    assert math.isclose(cosine(2, 8, 0.0), (1 + math.sqrt(0.5)) / 2)
    assert {constant(step, 10) for step in range(10)} == {1.0}


def test_warm_up_and_halving_at_once_or_in_turn():
    assert [warmup_halving(step, 4, 8) for step in (0, 2, 4, 8, 16)] == [
        0,
        0.5 * 0.5**0.25,
        0.5**0.5,
        0.5,
        0.25,
    ]
    assert [warmup_halving(step, 4, 8, decay_from=4) for step in (0, 2, 4, 12, 20)] == [0, 0.5, 1, 0.5, 0.25]
    assert warmup_halving(0, 0, 8) == 1
