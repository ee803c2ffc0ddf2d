"""Segmentation clip by clip, with slots whose masks are given: which frames have them, and who is who."""

import pytest
import torch

from stages.discovery import clips
from stages.discovery.clips import Cutting, Grouped, segment_clips
from stages.outcome import MediaError
from stages.tubes.labels import label_maps
from tests.stages.discovery.making_solv import ToyVideo

ROWS, COLUMNS = 2, 3


def video(frames):
    """Frame t is full of the number t."""
    tokens = torch.arange(float(frames))[:, None, None].expand(-1, ROWS * COLUMNS, 1).contiguous()
    return ToyVideo(tokens, ROWS, COLUMNS)


class Halves:
    """Slot 0 wins the left column, slot 1 the rest, slot 2 nothing; in every second clip they change places.

    Vectors of slots 0 and 1 are what they look like, so that they can be found again.
    """

    def __init__(self, swap=True):
        self.swap, self.seen = swap, []

    def __call__(self, tokens, grid):
        assert grid == (ROWS, COLUMNS)
        batch, frames = tokens.shape[:2]
        left = (torch.arange(ROWS * COLUMNS) % COLUMNS == 0).float()
        masks = torch.stack([left * 0.8, (1 - left) * 0.8, torch.full_like(left, 0.1)])
        masks = (masks / masks.sum(0)).expand(batch, frames, -1, -1).clone()
        slots = torch.eye(3).expand(batch, -1, -1).clone()
        for number in range(batch):
            self.seen.append(tokens[number, :, 0, 0].tolist())
            if self.swap and len(self.seen) % 2 == 0:
                masks[number], slots[number] = masks[number][:, [1, 0, 2]], slots[number][[1, 0, 2]]
        return Grouped(slots, masks.flip(2), masks, tokens)


def segment(frames, group=None, **options):
    group = group or Halves()
    return segment_clips(group, video(frames), "tokens", Cutting(**{"run": 4, "clip": 4, **options})), group


def flat(group):
    """The frames that were grouped, in order."""
    return [frame for clip in group.seen for frame in clip]


@pytest.mark.parametrize("frames", [1, 3, 4, 5, 11])
def test_every_frame_has_masks_and_the_last_clip_is_filled_up(frames):
    found, group = segment(frames)
    assert found.masks["decoder"].shape == (frames, 3, ROWS, COLUMNS)
    assert found.active.tolist() == [[True, True, False]] * frames
    assert [min(f, frames - 1) for f in range(-(-frames // 4) * 4)] == flat(group)
    assert (found.masks["decoder"][~found.active] == 0).all()


@pytest.mark.parametrize(("frames", "kept"), [(3, 0), (4, 0), (5, 4), (8, 4), (9, 8), (13, 12)])
def test_the_strict_rule_keeps_runs_that_a_frame_follows(frames, kept):
    found, group = segment(frames, strict=True)
    assert found.active.any(dim=1).tolist() == [True] * kept + [False] * (frames - kept)
    assert flat(group) == list(range(kept))
    assert (found.identity[kept:] == -1).all() and (found.masks["decoder"][kept:] == 0).all()
    maps = label_maps(found, "decoder", (8, 12))
    assert (maps[kept:] == -1).all() and (maps[:kept] >= 0).all()


def test_frames_alone_still_follow_the_rule_of_runs():
    found, group = segment(6, strict=True, clip=1)
    assert [len(clip) for clip in group.seen] == [1] * 4
    assert found.active.any(dim=1).sum() == 4


def test_without_linking_every_clip_has_tubes_of_its_own():
    found, _ = segment(10)
    assert found.identity.tolist() == [[0, 1, -1]] * 4 + [[2, 3, -1]] * 4 + [[4, 5, -1]] * 2


def test_linked_slots_are_found_again_under_another_number():
    found, _ = segment(10, link_threshold=0.9)
    assert found.identity.tolist() == [[0, 1, -1]] * 4 + [[1, 0, -1]] * 4 + [[0, 1, -1]] * 2
    maps = label_maps(found, "decoder", (8, 12))
    assert (maps == maps[:1]).all() and set(maps.ravel()) == {0, 1}


def test_slots_go_along_with_their_clips():
    found, _ = segment(6)
    assert torch.equal(found.slots[3], torch.eye(3)) and torch.equal(found.slots[4], torch.eye(3)[[1, 0, 2]])


def test_the_first_kind_of_masks_says_which_slots_there_are():
    found, _ = segment(2, group=Halves(swap=False), kinds=("attention", "decoder"))
    assert list(found.masks) == ["attention", "decoder"]
    assert found.active.tolist() == [[False, True, True]] * 2
    assert (found.masks["decoder"][:, 0] == 0).all()


def test_more_tubes_than_can_be_numbered_are_refused(monkeypatch):
    monkeypatch.setattr(clips, "MOST_TUBES", 5)
    segment(8)
    with pytest.raises(MediaError, match="^toy: more than 5 tubes by frame 10 of 10") as caught:
        segment(10)
    assert caught.value.error_class == "tubes"
    segment(40, link_threshold=0.9)
