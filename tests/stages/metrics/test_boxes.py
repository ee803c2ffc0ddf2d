import numpy as np
import pytest
from pycocotools import mask as coco

from stages.metrics.boxes import CONTINUOUS, INCLUSIVE, TWICE, BoxFrame, areas, box_iou, intersections
from tests.stages.metrics.making_boxes import frame


@pytest.mark.parametrize(
    "extra, expected",
    [
        (CONTINUOUS, 36 / (81 + 81 - 36)),  # 9 x 9 each, 4 x 9 shared
        (INCLUSIVE, 50 / (100 + 100 - 50)),  # 10 x 10, 5 x 10
        (TWICE, 66 / (121 + 121 - 66)),  # 11 x 11, 6 x 11
    ],
)
def test_three_conventions(extra, expected):
    first, second = np.array([[0.0, 0, 9, 9]]), np.array([[5.0, 0, 14, 9]])
    assert box_iou(first, second, extra).tolist() == [[expected]]


def test_a_gap_of_a_pixel_closes_only_with_two():
    """Columns 0-4 and 6-9, with the last pixels inside: they share nothing, but TWICE makes them touch."""
    first, second = np.array([[0.0, 0, 4, 9]]), np.array([[5.0, 0, 9, 9]])
    assert [intersections(first, second, e).item() for e in (0, 1, 2)] == [0, 0, 11]


def test_continuous_as_pycocotools():
    random = np.random.default_rng(0)
    start = random.uniform(0, 50, (2, 12, 2))
    boxes = np.concatenate([start, start + random.uniform(0, 40, start.shape)], axis=2)
    sides = [np.concatenate([b[:, :2], b[:, 2:] - b[:, :2]], axis=1) for b in boxes]
    assert np.allclose(box_iou(*boxes), coco.iou(*sides, [0] * 12), atol=1e-12)


def test_boxes_without_area():
    nothing = np.zeros((1, 4))
    assert areas(nothing).tolist() == [0.0] and box_iou(nothing, nothing).tolist() == [[0.0]]
    assert box_iou(nothing, nothing, TWICE).tolist() == [[1.0]]
    assert box_iou(np.zeros((0, 4)), nothing).shape == (0, 1)


def test_absent_masks_are_told_from_boxes():
    found = frame(boxes=[(0, 0, 0, 0), (0, 0, 3, 0), (2, 2, 2, 2)])
    assert found.present.tolist() == [False, True, True]


@pytest.mark.parametrize(
    "change, message",
    [
        ({"truth": [[5, 5, 4, 9]]}, "a box in truth ends before it begins"),
        ({"boxes": [[0, 0, np.nan, 1]]}, "a coordinate in boxes is no finite number"),
        ({"boxes": [[0, 0, 1]]}, "boxes is .1, 3., must be .boxes, 4."),
        ({"truth_classes": []}, "1 annotated boxes and classes of .0,."),
        ({"truth_classes": [0.5]}, "whole numbers"),
        ({"truth_classes": [-1]}, "whole numbers from 0 on"),
        ({"scores": np.zeros((2, 1))}, "scores are .2, 1., must be .1 boxes"),
        ({"scores": [[np.inf]]}, "a score is infinite"),
    ],
)
def test_mistakes_are_named(change, message):
    good = {"truth": [[0, 0, 1, 1]], "truth_classes": [0], "boxes": [[0, 0, 1, 1]], "scores": [[0.5]]}
    BoxFrame(**good)
    with pytest.raises(ValueError, match=message):
        BoxFrame(**{**good, **change})
