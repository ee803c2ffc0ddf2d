import numpy as np
import pytest
from pycocotools import mask as coco

from stages.metrics.confusion import confusion
from stages.metrics.overlap import frame_iou, pair_iou, per_frame, per_object, video_iou
from tests.stages.metrics.making import blobs, rows, shaken


def encoded(mask):
    return coco.encode(np.asfortranarray(mask.astype(np.uint8)))


def test_frames_as_pycocotools():
    truth = blobs(0)
    prediction = shaken(truth)
    found = confusion(prediction, truth)
    iou = frame_iou(found)
    for t in range(len(truth)):
        dt = [encoded(prediction[t] == k) for k in found.tubes]
        gt = [encoded(truth[t] == g) for g in found.objects]
        assert np.allclose(np.nan_to_num(iou[t]), coco.iou(dt, gt, [0] * len(gt)).T, atol=1e-12)


def test_volumes_as_pycocotools():
    """A video's frames laid side by side are one mask."""
    truth = blobs(1)
    prediction = shaken(truth)
    found = confusion(prediction, truth)
    side = [np.concatenate(list(maps), axis=1) for maps in (prediction, truth)]
    dt, gt = (
        [encoded(m == n) for n in ids] for m, ids in zip(side, (found.tubes, found.objects), strict=True)
    )
    assert np.allclose(video_iou(found), coco.iou(dt, gt, [0] * len(gt)).T, atol=1e-12)


def test_three_ways_to_average():
    """One object of 2, 0 and 1 pixels; one tube of 2, 1 and 0: IoU 1, 0, 0 where both are looked at."""
    found = confusion(rows("00..", "0...", "...."), rows("1100", "0000", "0001"))
    assert frame_iou(found)[:, 0, 0].tolist() == [1.0, 0.0, 0.0]
    assert pair_iou(found)[0, 0] == pytest.approx(1 / 3)
    assert video_iou(found)[0, 0] == 0.5
    empty = confusion(rows("00..", "...."), rows("1100", "0000"))
    assert np.isnan(frame_iou(empty)[1, 0, 0]) and pair_iou(empty)[0, 0] == 1.0


def test_best_and_one_to_one():
    """One tube over two objects is the best of both, but can be assigned to one only."""
    found = confusion(rows("000.."), rows("11122"[::-1]))
    assert per_object(found, "best").tolist() == pytest.approx([1 / 5, 2 / 3])
    assert per_object(found, "hungarian").tolist() == pytest.approx([0.0, 2 / 3])


def test_frames_without_an_object_have_no_mean():
    found = confusion(rows("0011", "0011"), rows("0000", "1122"))
    means = per_frame(found, "hungarian")
    assert np.isnan(means[0]) and means[1] == 1.0


def test_absent_ids_count_only_where_asked():
    found = confusion(rows("0011"), rows("0033"))
    assert per_frame(found, "best").tolist() == [1.0]
    assert per_frame(found, "best", absent="zero").tolist() == pytest.approx([1 / 3])


def test_nothing_predicted():
    found = confusion(rows("...."), rows("0110"))
    assert per_object(found, "best").tolist() == per_object(found, "hungarian").tolist() == [0.0]
    assert per_frame(found, "best").tolist() == per_frame(found, "hungarian").tolist() == [0.0]
