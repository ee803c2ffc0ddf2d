"""Label maps and tubes against what they are by definition."""

import dataclasses

import numpy as np
import pytest
import torch
from pycocotools import mask as coco
from torch.nn import functional

from stages.tubes.labels import add_tubes, frame_masks, label_maps, overlapping_masks
from tests.stages.tubes.making import SIZE, random_segmentation, source_frames, squares


class Recorder:
    """Takes what a writer gets."""

    def add(self, *given):
        self.video, self.mask, self.size, self.frames, self.pts, self.found, self.slots = given


def by_definition(found, kind, size):
    """Labels int64 (T, H, W), and the share of the winning slot at each pixel, in float64."""
    large = functional.interpolate(
        found.masks[kind].double(), size, mode="bilinear", align_corners=False
    ).masked_fill(~found.active[:, :, None, None], -1)
    best, slot = large.max(dim=1)
    labels = found.identity.gather(1, slot.flatten(1)).view_as(slot)
    return labels.numpy(), (best / large.clamp_min(0).sum(dim=1)).numpy()


@pytest.mark.parametrize("kind", ["decoder", "attention"])
def test_labels_are_the_strongest_slots_tube(kind):
    found = random_segmentation()
    labels = label_maps(found, kind, SIZE)
    assert labels.dtype == np.int16 and labels.shape == (3, *SIZE)
    expected, _ = by_definition(found, kind, SIZE)
    assert np.mean(labels == expected) > 0.999  # float32 ties
    assert set(np.unique(labels)) <= {0, 1, 2}
    assert not np.array_equal(
        labels, label_maps(found, "attention" if kind == "decoder" else "decoder", SIZE)
    )


def test_borders_are_no_tube_and_the_rest_is_scaled_to_what_is_left():
    found = random_segmentation()
    labels = label_maps(found, "decoder", SIZE, (2, 3, 4, 6))
    inner = labels[:, 2:21, 4:34]
    assert np.array_equal(inner, label_maps(found, "decoder", (19, 30)))
    assert (inner >= 0).all() and np.count_nonzero(labels >= 0) == inner.size
    with pytest.raises(ValueError, match=r"borders \(12, 12, 0, 0\) leave nothing of a frame of 24x40"):
        label_maps(found, "decoder", SIZE, (12, 12, 0, 0))


def test_inactive_slots_never_win():
    found = random_segmentation(1)
    loud = found.masks["decoder"].masked_fill(~found.active[:, :, None, None], 9.0)
    same = dataclasses.replace(
        found, masks={"decoder": loud}, identity=torch.where(found.active, found.identity, 5)
    )
    assert np.array_equal(label_maps(same, "decoder", SIZE), label_maps(found, "decoder", SIZE))
    frames = list(frame_masks(same, "decoder", SIZE))
    for frame, expected in zip(frames, frame_masks(found, "decoder", SIZE), strict=True):
        assert np.array_equal(frame.scores, expected.scores)


def test_a_frame_without_active_slots_has_no_tube():
    found = squares(3)
    found.active[1] = False
    labels = label_maps(found, "cluster", (8, 8))
    assert (labels[1] == -1).all() and (labels[[0, 2]] >= 0).all()
    assert [len(frame.tubes) for frame in frame_masks(found, "cluster", (8, 8))] == [2, 0, 2]


def test_tubes_are_those_of_the_label_map():
    found, recorder = random_segmentation(), Recorder()
    borders = (1, 0, 0, 5)
    count = add_tubes(recorder, "v", found, "decoder", SIZE, borders, source_frames(3), source_frames(3) / 25)
    labels = label_maps(found, "decoder", SIZE, borders)
    assert count == len(np.unique(labels)) - 1
    again = np.full_like(labels, -1)
    for row in recorder.found:
        run = {"size": list(SIZE), "counts": row.rle.encode()}
        mask = coco.decode(run).astype(bool)
        again[row.position][mask] = row.tube
        y, x = np.nonzero(mask)
        assert row.box == (x.min(), y.min(), x.max() - x.min() + 1, y.max() - y.min() + 1)
        assert row.area == mask.sum() > 0
    assert np.array_equal(again, labels)
    expected, share = by_definition(found, "decoder", (23, 35))
    for row in recorder.found:
        mean = share[row.position][expected[row.position] == row.tube].mean()
        assert row.score == pytest.approx(mean, abs=2e-3)


def test_slot_vectors_are_means_over_a_tubes_slots():
    found, recorder = random_segmentation(), Recorder()
    add_tubes(recorder, "v", found, "decoder", SIZE, None, source_frames(3), source_frames(3) / 25)
    members = found.slots[found.active & (found.identity == 1)]
    assert len(members) > 3, "two slots of one tube"
    assert np.allclose(recorder.slots[1], members.mean(dim=0), atol=1e-6)


def test_scores_of_halves():
    """Nearly hard masks: each tube has its half, at a score that interpolation lowers at the seam only."""
    frame = next(iter(frame_masks(squares(), "cluster", (8, 8))))
    assert frame.tubes.tolist() == [3, 7]
    assert np.array_equal(frame.masks[0].T, np.arange(8)[None].repeat(8, 0) < 4)
    assert np.array_equal(frame.masks[0], ~frame.masks[1])
    # columns 0..3 of the left half lie at 1, 1, 1 and 0.75 of the way between the cells' centres
    assert frame.scores == pytest.approx([3.75 / 4, 3.75 / 4])


def test_overlapping_masks_are_kept_where_they_exceed_one_half():
    found = squares(2, overlapping=True)
    masks = overlapping_masks(found, "cluster", (4, 4), None)
    assert list(masks) == [3, 7] and masks[3].shape == (2, 4, 4)
    rows = np.arange(4)[:, None].repeat(4, 1)
    assert np.array_equal(masks[3][1], rows < 3) and np.array_equal(masks[7][0], rows > 0)
    frame = next(iter(frame_masks(found, "cluster", (4, 4))))
    assert frame.scores == pytest.approx([0.75, 1.0])
    with pytest.raises(ValueError, match="overlapping_masks"):
        label_maps(found, "cluster", (4, 4))
    with pytest.raises(ValueError, match="label_maps"):
        overlapping_masks(squares(), "cluster", (4, 4))


def test_mistakes_are_refused():
    found = squares()
    with pytest.raises(ValueError, match="video v has 3 frames, its masks 2"):
        add_tubes(Recorder(), "v", found, "cluster", (8, 8), None, source_frames(3), source_frames(3))
    found.identity[0, 0] = 40000
    with pytest.raises(ValueError, match="tube 40000: a video can have 32768 tubes"):
        label_maps(found, "cluster", (8, 8))
