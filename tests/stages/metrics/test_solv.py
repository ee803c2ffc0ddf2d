import numpy as np
import pytest

from stages.metrics.confusion import confusion
from stages.metrics.solv import MOST_OBJECTS, evaluate, evaluated_objects, relabel, select_objects
from tests.stages.metrics.making import blobs, rows, shaken


def test_perfect_with_permuted_ids():
    """Acceptance check 9 of the methods sheet, first part."""
    truth = blobs(0)
    prediction = np.array([2, 0, 3, 1])[truth]
    for bug in (False, True):
        found = evaluate(confusion(prediction, truth), id_gap_bug=bug)
        assert found.iou.tolist() == [1.0, 1.0, 1.0] and found.fg_ari == 1.0
        assert np.array_equal(relabel(prediction, found), truth)


@pytest.mark.parametrize("ids", [(0, 2, 5), (0, 2, 3)])
def test_gaps_cost_a_match_only_with_the_bug(ids):
    """Acceptance check 9, second part: perfect masks whose labels have gaps."""
    truth = blobs(1, objects=2)
    prediction = np.array(ids)[truth]
    fixed, bug = (evaluate(confusion(prediction, truth), id_gap_bug=bug) for bug in (False, True))
    assert fixed.iou.tolist() == [1.0, 1.0]
    assert bug.iou.min() == 0.0
    if ids == (0, 2, 3):
        assert bug.iou.max() == 0.0


def test_one_stray_pixel_of_a_single_object():
    """Acceptance check 9, third part."""
    truth = rows("01110", "01110")
    assert evaluate(confusion(rows("0111.", "01110"), truth)).fg_ari == 1.0
    assert evaluate(confusion(rows("0112.", "01110"), truth)).fg_ari == 0.5
    assert evaluate(confusion(rows("0112.", "01110"), truth), drop_single=True).fg_ari is None


def test_by_hand():
    """Objects 3 and 7; tube 4 fits 3 in frame 0 and half in frame 1, tube 0 gets 7, tube 1 is left."""
    truth = rows("33770", "33007", "00000")
    prediction = rows("44001", "41000", "11111")
    found = evaluate(confusion(prediction, truth))
    assert found.objects == (3, 7) and found.relabelled == {4: 3, 0: 7}
    assert found.iou.tolist() == pytest.approx([(1 + 1 / 2) / 2, (1 + 1 / 3) / 2])
    assert relabel(prediction, found).tolist() == [[[3, 3, 7, 7, 0]], [[3, 0, 7, 7, 7]], [[0] * 5]]
    assert found.fg_ari == pytest.approx((1 + 0) / 2)


def test_late_objects_are_background():
    truth = rows("1000", "1022")
    found = evaluate(confusion(rows("0111", "0122"), truth))
    assert found.objects == (1,) and found.iou.tolist() == [1.0] and found.fg_ari == 1.0
    assert select_objects(rows("0500", "0522")).tolist() == [[[0, 1, 0, 0]], [[0, 1, 0, 0]]]


def test_nothing_in_the_first_frame():
    truth = rows("0000", "1122")
    assert evaluate(confusion(rows("0011", "0011"), truth)) is None
    assert not select_objects(truth).any()


def test_more_than_nineteen_objects():
    truth = np.arange(25).reshape(1, 1, 25)
    found = confusion(truth, truth)
    assert evaluated_objects(found) == tuple(range(1, MOST_OBJECTS + 1))
    assert select_objects(truth).max() == MOST_OBJECTS and select_objects(truth)[0, 0, 20] == 0
    assert len(evaluate(found).iou) == MOST_OBJECTS


@pytest.mark.parametrize("bug", [False, True])
def test_fewer_tubes_than_objects(bug):
    found = evaluate(confusion(rows("0000.."), rows("112233")), id_gap_bug=bug)
    assert sorted(found.iou.tolist()) == [0.0, 0.0, 0.5]
    nothing = evaluate(confusion(rows("......"), rows("112233")), id_gap_bug=bug)
    assert nothing.iou.tolist() == [0.0, 0.0, 0.0] and nothing.relabelled == {} and nothing.fg_ari == 0.0


def test_relabelled_maps_give_the_same_scores():
    """The scores come from counts; here from the relabelled map itself."""
    truth = blobs(3, frames=8)
    prediction = shaken(truth, 3)
    found = evaluate(confusion(prediction, truth))
    labels = relabel(prediction, found)
    for number, expected in zip(found.objects, found.iou, strict=True):
        mine, theirs = labels == number, truth == number
        union = (mine | theirs).sum(axis=(1, 2))
        shared = (mine & theirs).sum(axis=(1, 2))
        assert expected == pytest.approx((shared[union > 0] / union[union > 0]).mean())
