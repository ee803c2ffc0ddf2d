from fractions import Fraction

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from stages.metrics.rand_index import adjusted_rand


def table(truth, prediction):
    found = np.zeros((int(truth.max()) + 1, int(prediction.max()) + 1), np.int64)
    np.add.at(found, (truth, prediction), 1)
    return found


def exact(counts):
    """The definition in rational numbers."""
    n = [[Fraction(int(v)) for v in row] for row in counts]
    a, b = [sum(row) for row in n], [sum(column) for column in zip(*n, strict=True)]
    r, big_a, big_b = (sum(v * (v - 1) for v in vs) for vs in ([v for row in n for v in row], a, b))
    e = big_a * big_b / max(sum(a) * (sum(a) - 1), 1)
    m = (big_a + big_b) / 2
    return 1.0 if m == e else float((r - e) / (m - e))


@pytest.mark.parametrize("seed", range(20))
def test_as_scikit_learn(seed):
    random = np.random.default_rng(seed)
    truth, prediction = random.integers(0, random.integers(1, 6), (2, 200))
    prediction = np.where(random.random(200) < 0.6, truth, prediction)
    found = adjusted_rand(table(truth, prediction))
    assert abs(found - adjusted_rand_score(truth, prediction)) <= 1e-12


@pytest.mark.parametrize(
    "counts, expected",
    [
        ([[7]], 1.0),
        ([[6, 1]], 0.0),
        ([[3], [4]], 0.0),
        ([[1, 0], [0, 1]], 1.0),
        ([[1]], 1.0),
        ([[0, 0]], 1.0),
        ([[0], [0]], 1.0),
        ([[4, 0], [0, 5]], 1.0),
    ],
)
def test_by_hand(counts, expected):
    assert adjusted_rand(np.array(counts)) == expected


def test_worse_than_chance():
    """Of 56 ordered pairs 8 agree, 24 are together on each side: (8 - 24 * 24 / 56) / (24 - 24 * 24 / 56)."""
    assert adjusted_rand(np.array([[2, 2], [2, 2]])) == pytest.approx(-1 / 6)


def test_stray_pixel_in_a_large_frame_is_exactly_nothing():
    assert adjusted_rand(np.array([[14_757_120 - 1, 1]])) == 0.0


@pytest.mark.parametrize("scale", [1, 60_000, 5_000_000, 40_000_000])
def test_no_overflow(scale):
    """From 55,000 pixels on 32-bit pair counts overflow; at video size products of 64-bit ones do."""
    counts = np.array([[5, 1, 0], [1, 3, 1], [0, 2, 7]]) * scale
    assert abs(adjusted_rand(counts) - exact(counts)) <= 1e-12


def test_many_tables_at_once():
    random = np.random.default_rng(0)
    tables = random.integers(0, 9, (4, 5, 3, 6))
    found = adjusted_rand(tables)
    assert found.shape == (4, 5)
    assert found[2, 3] == adjusted_rand(tables[2, 3])
