import numpy as np
import pytest

from stages.metrics.proposals import LabelProposals, Proposals, limited
from tests.stages.metrics.making import rows


def test_labels_are_proposals_with_their_holes():
    found = LabelProposals(rows("00.3", "3333"))
    assert found.count == 4 and found.areas().tolist() == [2, 0, 0, 5]
    masks = list(found.masks(0, [0, 1, 3]))
    assert [mask.astype(int).tolist() for mask in masks] == [[[1, 1, 0, 0]], [[0] * 4], [[0, 0, 0, 1]]]


def test_limits_keep_the_largest():
    labels = LabelProposals(rows("0011122223", "0011122223"))
    assert limited(labels, 4) == (0, 1, 2, 3)
    assert limited(labels, 2) == (1, 2)
    assert limited(LabelProposals(rows("001122")), 2) == (0, 1)
    with pytest.raises(ValueError, match="there are 4 proposals, the protocol allows 3"):
        limited(labels, 3, "error")


def test_background_is_chosen_without_truth():
    maps = np.zeros((1, 6, 6), int)
    maps[:, 1:5, 1:5] = 1
    maps[:, 2:4, 2:4] = 2
    labels = LabelProposals(maps)
    assert limited(labels, 20, ground="border") == (1, 2)
    assert limited(labels, 20, ground="largest") == (1, 2)
    maps[:, 0, :] = 1
    assert limited(labels, 20, ground="border") == (1, 2) and limited(labels, 2, "error", "border") == (1, 2)
    with pytest.raises(ValueError, match="among tubes"):
        limited(Proposals.of(np.zeros((2, 1, 3, 3), bool)), 20, ground="border")


def test_nothing_predicted():
    labels = LabelProposals(rows("...."))
    assert labels.count == 0 and limited(labels, 20) == () and limited(labels, 20, ground="largest") == ()


def test_overlapping_masks_are_read_frame_by_frame():
    masks = np.random.default_rng(0).random((3, 2, 4, 5)) < 0.5
    asked = []

    def read(t):
        asked.append(t)
        return masks[:, t]

    found = Proposals(3, (2, 4, 5), read)
    assert np.array_equal(np.stack(list(found.masks(1, [2, 0]))), masks[[2, 0], 1]) and asked == [1]
    assert (
        found.areas().tolist() == Proposals.of(masks).areas().tolist() == masks.sum(axis=(1, 2, 3)).tolist()
    )


def test_soft_maps():
    soft = [np.array([[[0.4, 0.3], [0.0, 0.31]]]), np.array([[[1.0, 0.0], [0.0, 0.0]]] * 2)]
    found = Proposals.of_soft(soft, (3, 4, 4))
    assert found.count == 2
    assert found.read(0)[0].astype(int).tolist() == [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]]
    assert not found.read(0)[1].any() and np.array_equal(found.read(2), found.read(1))
    with pytest.raises(ValueError, match="soft maps of 2 frames, the video has 1"):
        Proposals.of_soft(soft, (1, 4, 4))


def test_bad_masks():
    with pytest.raises(ValueError, match=r"must be bool \(K, T, H, W\)"):
        Proposals.of(np.zeros((2, 3, 4), bool))
    wrong = Proposals(2, (1, 4, 4), lambda t: np.zeros((2, 4, 5), bool))
    with pytest.raises(ValueError, match="frame 0: proposals are bool"):
        wrong.masks(0, [0])
