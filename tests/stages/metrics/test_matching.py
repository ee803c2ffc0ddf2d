import numpy as np
import pytest

from stages.metrics.matching import assign, assigned


def test_the_largest_total_wins():
    scores = np.array([[0.9, 0.8], [0.8, 0.1], [0.0, 0.3]])
    rows, columns = assign(scores)
    assert list(zip(rows.tolist(), columns.tolist(), strict=True)) == [(0, 1), (1, 0)]
    assert assigned(scores).tolist() == [0.8, 0.8]


def test_fewer_predictions_than_objects():
    scores = np.array([[0.2, 0.7, 0.1]])
    rows, columns = assign(scores)
    assert sorted(columns.tolist()) == [0, 1, 2]
    assert columns[rows == 0].tolist() == [1]
    assert assigned(scores).tolist() == [0.0, 0.7, 0.0]


def test_nothing_predicted():
    assert assigned(np.zeros((0, 2))).tolist() == [0.0, 0.0]


def test_scores_must_be_finite():
    with pytest.raises(ValueError, match="finite"):
        assign(np.array([[np.nan]]))
