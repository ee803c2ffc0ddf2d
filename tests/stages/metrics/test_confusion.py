import numpy as np
import pytest

from stages.metrics.confusion import confusion
from tests.stages.metrics.making import rows


def test_counts_by_hand():
    found = confusion(rows("0022.", "55522"), rows("01133", "00113"))
    assert found.objects == (1, 3) and found.tubes == (0, 2, 5)
    assert found.counts[0].tolist() == [[0, 1, 0, 0], [0, 1, 1, 0], [1, 0, 1, 0]]
    assert found.counts[1].tolist() == [[0, 0, 0, 2], [0, 0, 1, 1], [0, 0, 1, 0]]
    assert found.counts.dtype == np.int64
    assert found.truth_areas.tolist() == [[2, 2], [2, 1]]
    assert found.tube_areas.tolist() == [[2, 2, 0], [0, 2, 3]]
    assert found.intersections[0].tolist() == [[1, 1, 0], [0, 1, 0]]


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.uint16, np.int32, np.int64])
def test_any_integers(dtype):
    prediction, truth = rows("0022").astype(dtype), rows("0110").astype(dtype)
    prediction[0, 0, 0] = np.iinfo(dtype).max if np.dtype(dtype).itemsize < 4 else 5000
    found = confusion(prediction, truth)
    assert found.tubes == (0, 2, int(prediction.max())) and found.counts.sum() == 4


def test_ids_too_wide_for_a_table():
    prediction, truth = rows("0.22"), rows("0110")
    wide = np.where(prediction == 2, 1 << 40, prediction)
    found, usual = confusion(wide, truth), confusion(prediction, truth)
    assert found.tubes == (0, 1 << 40) and np.array_equal(found.counts, usual.counts)


def test_void_counts_nowhere():
    void = np.array([[[False, True, True, False]]])
    found = confusion(rows("0123"), rows("1220"), void)
    assert found.objects == (1,) and found.tubes == (0, 3)
    assert found.counts.tolist() == [[[0, 0, 1], [0, 1, 0]]]


def test_kept_objects_and_frames():
    found = confusion(rows("0022", "1111"), rows("0123", "0003"))
    kept = found.keep((2,))
    assert kept.objects == (2,) and kept.counts.sum() == found.counts.sum()
    assert kept.counts[0].tolist() == [[0, 2, 0, 1], [0, 0, 0, 1]]
    later = found.frames(1, 2)
    assert later.objects == (3,) and later.tubes == (1,) and later.counts.tolist() == [[[0, 3], [0, 1]]]


def test_nothing_predicted():
    found = confusion(rows("...."), rows("0110"))
    assert found.tubes == () and found.counts.tolist() == [[[2], [2]]]


def test_non_contiguous_views():
    random = np.random.default_rng(0)
    prediction, truth = random.integers(-1, 4, (3, 9, 9)), random.integers(0, 3, (3, 9, 9))
    view = confusion(prediction[:, 2:-1, 1:-3], truth[:, 2:-1, 1:-3])
    copy = confusion(prediction[:, 2:-1, 1:-3].copy(), truth[:, 2:-1, 1:-3].copy())
    assert np.array_equal(view.counts, copy.counts)


MAP = rows("0110", "0000")


@pytest.mark.parametrize(
    "prediction, truth, void, said",
    [
        (MAP[:1], MAP, None, "the prediction has 1 frames of 1 x 4, the ground truth has 2 frames of 1 x 4"),
        (MAP[:, :, :3], MAP, None, "2 frames of 1 x 3"),
        (MAP[0], MAP, None, r"the prediction has the shape \(1, 4\)"),
        (MAP[:0], MAP[:0], None, "at least one pixel"),
        (MAP * 0.5, MAP, None, "the prediction is float64, must be integer ids"),
        (MAP, MAP == 1, None, "the ground truth is bool"),
        (MAP - 2, MAP, None, "the prediction has the id -2, the lowest that means something is -1"),
        (MAP, MAP - 1, None, "the ground truth has the id -1"),
        (MAP, MAP, MAP, "void is int64"),
        (MAP, MAP, MAP[:1] > 0, "void must be a bool map of the same frames and size"),
    ],
)
def test_bad_maps_are_named(prediction, truth, void, said):
    with pytest.raises(ValueError, match=said):
        confusion(prediction, truth, void)
