import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.metrics.average_precision import Matched, class_ap, curve, greedy, match_boxes, mean_ap
from stages.metrics.boxes import BoxFrame
from tests.stages.metrics.making_boxes import SEEDS, coco_eval, frame, random_frames, shuffled

A, B, C = (0, 0, 8, 8), (20, 0, 28, 8), (40, 0, 48, 8)
FAR = (60, 60, 68, 68)


def test_by_hand():
    """Right, wrong, right, wrong with 3 objects: precision 1, 1/2, 2/3, 1/2; AP = (1 + 2/3) / 3."""
    video = [frame([A, B, C], [A, FAR, B, FAR], [0.9, 0.8, 0.7, 0.6])]
    assert mean_ap(match_boxes(video)) == pytest.approx(5 / 9)


def test_interpolation_takes_the_best_precision_to_the_right():
    """Wrong, right, right with 2 objects: precision 0, 1/2, 2/3; both hits count 2/3."""
    recall, precision = curve(np.array([False, True, True]), np.ones(3, bool), 2)
    assert recall.tolist() == [0, 0.5, 1] and precision.tolist() == pytest.approx([2 / 3] * 3)
    video = [frame([A, B], [FAR, A, B], [0.9, 0.8, 0.7])]
    assert mean_ap(match_boxes(video)) == pytest.approx(2 / 3)


def test_two_pixels_more_and_half_is_enough():
    """8 x 8 against 8 x 3 pixels: 24/64, but 10 x 5 of 10 x 10 with both pixels: exactly 1/2."""
    assert mean_ap(match_boxes([frame([A], [(0, 0, 8, 3)], [1])])) == 1.0
    assert mean_ap(match_boxes([frame([A], [(0, 0, 8, 2.99)], [1])])) == 0.0


def test_an_object_is_found_once():
    """The second box on A is wrong; one that overlaps two takes what is left. Order goes by score."""
    twice = match_boxes([frame([A], [A, A], [0.5, 0.9])])
    assert twice.scores.tolist() == [0.9, 0.5] and twice.hits[:, 0].tolist() == [True, False]
    near = (2, 0, 10, 8)  # 8 of 12 columns shared with A
    assert match_boxes([frame([A, near], [A, A], [0.5, 0.9])]).hits.all()


def test_classes():
    """Class 0 has no object: left out. Class 1 is found, class 2 claimed by nobody, class 3 unknown to the
    namer; (0, 0, 0, 0) and an unnamed box add what they claim and no more."""
    names = [(0.9, 0.8, np.nan), (0.4, 0.9, np.nan), (np.nan,) * 3]
    video = [frame([A, B, C], [A, (0, 0, 0, 0), B], names, [1, 2, 3])]
    found = match_boxes(video)
    # of class 1: the absent mask at 0.9 is wrong, A at 0.8 is right
    assert class_ap(found, 4).tolist() == pytest.approx([np.nan, 1 / 2, 0, 0], nan_ok=True)
    assert mean_ap(found) == pytest.approx((1 / 2 + 0 + 0) / 3)
    assert found.classes.tolist() == [0, 0, 1, 1] and found.ranks.tolist() == [0, 1, 0, 1]


def test_frames_without_objects_count():
    found, empty = frame([A], [A], [0.5]), frame([], [A], [0.9])
    assert mean_ap(match_boxes([found])) == 1.0
    assert mean_ap(match_boxes([found, empty])) == 0.5
    assert mean_ap(match_boxes([empty])) is None
    assert mean_ap(match_boxes([])) is None


def test_equal_scores_keep_the_order_of_frames():
    right, wrong = frame([A], [A], [0.5]), frame([], [A], [0.5])
    assert mean_ap(match_boxes([right, wrong])) == 1.0
    assert mean_ap(match_boxes([wrong, right])) == 0.5


def test_greedy_takes_the_best_then_the_last_of_equals():
    iou = np.array([[0.6, 0.9, 0.9], [0.6, 0.9, 0.9], [0.6, 0.9, 0.9], [0.6, 0.9, 0.9]])
    hits, ignored = greedy(iou, (0.5, 0.7, 1.0))
    assert hits.T.tolist() == [[True, True, True, False], [True, True, False, False], [False] * 4]
    # object 2 is ignored: it is taken last though it overlaps as much as object 1
    hits, ignored = greedy(iou, (0.5,), np.array([False, False, True]))
    assert hits[:, 0].tolist() == [True, True, True, False]
    assert ignored[:, 0].tolist() == [False, False, True, False]
    # of equals the last goes first: that leaves the other detection without
    assert greedy(np.array([[0.8, 0.8], [0.2, 0.9]]), (0.5,))[0][:, 0].tolist() == [True, False]


def test_rows_hold_everything():
    random = np.random.default_rng(0)
    hits, ignored = random.random((2, 7, 10)) < 0.5
    found = Matched(random.integers(0, 9, 7), random.random(7), np.arange(7), hits, ignored, np.array([3, 0]))
    again = Matched.of_rows(found.rows(), 10)
    for name in vars(found):
        assert np.array_equal(getattr(again, name), getattr(found, name)), name
    assert Matched.of_rows(Matched.joined([], 10).rows(), 10).hits.shape == (0, 10)


def as_coco(video):
    """Annotations and results for pycocotools, sides two pixels longer."""

    def box(b):
        return [b[0], b[1], b[2] - b[0] + 2, b[3] - b[1] + 2]

    truths, found = [], []
    for i, one in enumerate(video):
        for b, c in zip(one.truth, one.truth_classes, strict=True):
            truths.append({"image_id": i, "category_id": int(c), "bbox": box(b), "area": 1.0})
        for b, c in np.argwhere(~np.isnan(one.scores)):
            given = {"image_id": i, "category_id": int(c), "bbox": box(one.boxes[b])}
            found.append({**given, "score": float(one.scores[b, c])})
    return truths, found


@pytest.mark.parametrize("seed", range(6))
def test_as_pycocotools(seed):
    """COCO's precision, read off where recall rises, averages to the area under the curve: same matches, same
    ranks, also where scores and overlaps tie."""
    video = random_frames(seed, count=12)
    truths, found = as_coco(video)
    ours = class_ap(match_boxes(video), 3)
    for c in range(3):
        number = sum(t["category_id"] == c for t in truths)
        recalls = np.arange(1, number + 1) / number
        oracle = coco_eval(
            "bbox", [(50, 50)] * len(video), truths, found,
            iouThrs=np.array([0.5]), recThrs=recalls, catIds=[c], areaRng=[[0, 1e10]], areaRngLbl=["all"],
        )  # fmt: skip
        assert ours[c] == pytest.approx(oracle.eval["precision"][0, :, 0, 0, -1].mean(), abs=1e-12)


@settings(max_examples=25, deadline=None)
@given(SEEDS, st.booleans())
def test_order_does_not_matter_without_ties(seed, frames):
    """Scores all differ, and boxes get jitter: where two overlaps tie, the last object is taken."""
    random = np.random.default_rng(seed)
    video = []
    for f in random_frames(seed, count=5):
        boxes, scores = f.boxes + random.uniform(0, 0.5, f.boxes.shape), random.random(f.scores.shape)
        video.append(BoxFrame(f.truth, f.truth_classes, boxes, scores))
    found, other = (class_ap(match_boxes(v), 3) for v in (video, shuffled(video, seed, frames)))
    assert np.allclose(found, other, equal_nan=True)
    assert all(0 <= ap <= 1 for ap in found[~np.isnan(found)])
