"""Labels per pixel from masks on the patch grid."""

import pytest
import torch

from stages.tubes import upsample
from stages.tubes.upsample import upsample_argmax
from tests.stages.tubes.making import random_segmentation, squares


def test_halves_stay_halves():
    found = squares()
    labels = upsample_argmax(found.masks["cluster"], found.active, (8, 12))
    assert labels.dtype == torch.int64 and labels.shape == (2, 8, 12)
    assert (labels[:, :, :6] == 0).all() and (labels[:, :, 6:] == 1).all()


def test_the_border_lies_where_the_interpolated_masks_cross():
    """Patch centres at 2, 6, 10 and 14 of 16 columns; 0.9 falls to 0.1 between 2 and 6, so 0.6 is at 3.5."""
    first = torch.tensor([0.9, 0.1, 0.1, 0.1])
    masks = torch.stack([first, torch.full((4,), 0.6)])[None, :, None].expand(1, 2, 3, 4)
    labels = upsample_argmax(masks, torch.ones(1, 2, dtype=torch.bool), (12, 16))
    assert labels[0, 0].tolist() == [0] * 3 + [1] * 13


@pytest.mark.parametrize("size", [(3, 5), (1, 1), (24, 40), (17, 31)])
def test_inactive_slots_never_win(size):
    found = random_segmentation(frames=6)
    labels = upsample_argmax(found.masks["decoder"], found.active, size)
    assert found.active.gather(1, labels.flatten(1)).all()
    loud = found.masks["decoder"].masked_fill(~found.active[..., None, None], 5.0)
    assert torch.equal(upsample_argmax(loud, found.active, size), labels)


def test_active_slots_of_mask_zero_beat_inactive_ones():
    masks = torch.zeros(1, 3, 2, 2)
    active = torch.tensor([[False, True, False]])
    assert (upsample_argmax(masks, active, (4, 4)) == 1).all()


def test_frames_at_once_change_nothing(monkeypatch):
    found = random_segmentation(frames=7)
    whole = upsample_argmax(found.masks["decoder"], found.active, (24, 40))
    monkeypatch.setattr(upsample, "_PIXELS", 2 * 4 * 24 * 40)
    assert torch.equal(upsample_argmax(found.masks["decoder"], found.active, (24, 40)), whole)
    monkeypatch.setattr(upsample, "_PIXELS", 1)
    assert torch.equal(upsample_argmax(found.masks["decoder"], found.active, (24, 40)), whole)
