import numpy as np
import pytest
from pycocotools import mask as coco

from stages.metrics import tube_ap
from stages.metrics.average_precision import Matched
from stages.metrics.tube_ap import Tube, average_precision, average_recall, match_tubes, mean_area, tube_iou
from tests.stages.metrics.making_boxes import coco_eval, rectangle

SIZE = (10, 20)
LEFT, RIGHT = rectangle(SIZE, 0, 0, 4, 5), rectangle(SIZE, 10, 0, 4, 5)
AREAS = {"all": tube_ap.ALL, "small": tube_ap.SMALL, "medium": tube_ap.MEDIUM, "large": tube_ap.LARGE}


def tube(*masks, score=1.0):
    return Tube(masks, score)


def figures(matched):
    return [average_precision(matched), average_precision(matched, [0]), average_recall(matched)]


def test_overlap_over_time():
    """20 pixels in frames 0 and 1 against 20 in frame 1 and 8 in frame 2: 20 shared of 20 + 20 + 8."""
    part = rectangle(SIZE, 0, 0, 4, 2)
    assert tube_iou([tube(None, LEFT, part)], [tube(LEFT, LEFT, None)]).tolist() == [[20 / 48]]
    assert tube_iou([tube(None, None)], [tube(None, None)]).tolist() == [[0.0]]
    assert tube_iou([], [tube(LEFT)]).shape == (0, 1)


def test_swapped_identities_are_seen():
    """After a swap halfway each tube shares half of itself with each object: IoU 1/3."""
    truth = [tube(LEFT, LEFT), tube(RIGHT, RIGHT)]
    assert figures(match_tubes(truth, truth)) == [1.0, 1.0, 1.0]
    swapped = match_tubes([tube(LEFT, RIGHT), tube(RIGHT, LEFT)], truth)
    assert figures(swapped) == [0.0, 0.0, 0.0]


def test_by_hand():
    """Objects LEFT and RIGHT; first a wrong tube, then RIGHT, IoU 1, then 16 of LEFT's 20 pixels, IoU 0.8.

    Up to level 0.8 (7 of 10) precision is 2/3 at every recall. Above, one object is found at precision 1/2:
    that is read at recalls 0 to 0.5, 51 of 101 points.
    """
    cut = rectangle(SIZE, 0, 0, 4, 4)
    found = [tube(cut, score=0.3), tube(rectangle(SIZE, 0, 8, 9, 2), score=0.9), tube(RIGHT, score=0.5)]
    matched = match_tubes(found, [tube(LEFT), tube(RIGHT)])
    assert matched.hits.sum(axis=1).tolist() == [0, 10, 7]
    assert average_precision(matched, [0]) == pytest.approx(2 / 3)
    assert average_precision(matched, [9]) == pytest.approx(51 / 101 / 2)
    assert average_precision(matched) == pytest.approx((7 * 2 / 3 + 3 * 51 / 101 / 2) / 10)
    assert average_recall(matched) == pytest.approx((7 + 3 * 0.5) / 10)
    assert [average_recall(matched, k) for k in (1, 2)] == pytest.approx([0.0, 0.5])


def test_a_hundred_tubes_enter():
    nothing = [tube(None, score=0.5)] * 100
    for score, expected in [(0.6, 1.0), (0.4, 0.0)]:
        matched = match_tubes([*nothing, tube(LEFT, score=score)], [tube(LEFT)])
        assert len(matched.scores) == 100 and average_recall(matched) == expected


def test_videos_without_objects_or_tubes():
    truth, tubes = [tube(LEFT)], [tube(LEFT, score=0.5)]
    wrong = match_tubes([tube(LEFT, score=0.9)], [])
    assert figures(wrong) == [None, None, None]
    assert figures(match_tubes([], truth)) == [0.0, 0.0, 0.0]
    joined = Matched.joined([match_tubes(tubes, truth), wrong], 10)
    assert average_precision(joined) == pytest.approx(1 / 2) and average_recall(joined) == 1.0


def test_mean_area_is_that_of_frames_with_pixels():
    assert mean_area(tube(LEFT, None, rectangle(SIZE, 0, 0, 2, 5)).areas()) == 15.0
    assert mean_area(tube(None, None).areas()) == 0.0


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="have .1, 2. frames"):
        tube_iou([tube(LEFT)], [tube(LEFT, LEFT)])
    with pytest.raises(ValueError, match="have the sizes"):
        tube_iou([tube(LEFT)], [tube(rectangle((20, 10), 0, 0, 2, 2))])
    with pytest.raises(ValueError, match="no finite number"):
        match_tubes([tube(LEFT, score=np.nan)], [])


def random_tubes(random, count, frames, size):
    """Rectangles on a coarse grid that stand still or vanish; few different scores and equal tubes."""
    tubes = []
    for _ in range(count):
        x, y = random.integers(0, 3, 2) * 40
        w, h = random.integers(2, 8, 2) * 40
        mask = rectangle(size, x, y, w, h)
        masks = [mask if random.random() < 0.7 else None for _ in range(frames)]
        tubes.append(Tube(masks, float(random.integers(1, 5)) / 5))
    return tubes + tubes[:1]


def side_by_side(one, frames, size):
    """All frames of a tube as one mask."""
    empty = rectangle(size, 0, 0, 0, 0)
    pictures = [coco.decode([mask or empty])[:, :, 0] for mask in one.masks]
    return coco.encode(np.asfortranarray(np.concatenate(pictures, axis=1)))


@pytest.mark.parametrize("seed", range(3))
def test_as_pycocotools(seed):
    """A video's frames laid side by side are one picture for COCO, with the areas and limits of tubes."""
    random, size, frames = np.random.default_rng(seed), (360, 360), 3
    videos = [
        tuple(random_tubes(random, count, frames, size) for count in (int(random.integers(1, 7)), 2))
        for _ in range(5)
    ]
    truths, found = [], []
    for i, pair in enumerate(videos):
        for tubes, target in zip(pair, (found, truths), strict=True):
            for one in tubes:
                mask, area = side_by_side(one, frames, size), mean_area(one.areas())
                target.append(
                    {"image_id": i, "category_id": 1, "segmentation": mask, "area": area, "score": one.score}
                )
    oracle = coco_eval(
        "segm", [(size[0], size[1] * frames)] * len(videos), truths, found,
        useCats=0, areaRng=[list(a) for a in AREAS.values()], areaRngLbl=list(AREAS),
    )  # fmt: skip
    precision, recall = oracle.eval["precision"], oracle.eval["recall"]
    for place, area in enumerate(AREAS.values()):
        ours = Matched.joined([match_tubes(*pair, area) for pair in videos], 10)
        if not len(ours.truths):
            assert (precision[:, :, 0, place, 2] == -1).all()
            continue
        for level in range(10):
            expected = precision[level, :, 0, place, 2].mean()
            assert average_precision(ours, [level]) == pytest.approx(expected, abs=1e-12)
        for k, most in enumerate((1, 10, 100)):
            assert average_recall(ours, most) == pytest.approx(recall[:, 0, place, k].mean(), abs=1e-12)


def test_order_of_tubes_does_not_matter_without_ties():
    random = np.random.default_rng(7)
    truth = random_tubes(random, 3, 2, (280, 280))
    found = [Tube(t.masks, float(i)) for i, t in enumerate(random_tubes(random, 5, 2, (280, 280)))]
    assert figures(match_tubes(found, truth)) == figures(match_tubes(found[::-1], truth))
