"""Merging on slots whose groups are known."""

import numpy as np
import pytest
import torch

from stages.merging.slots import assign, cluster, merge

AXES = torch.eye(4)


def at_angle(degrees):
    """Unit vectors in a plane."""
    radians = np.deg2rad(np.asarray(degrees, np.float64))
    return np.stack([np.cos(radians), np.sin(radians)], axis=1)


def test_equal_slots_are_one_cluster_and_that_is_discarded():
    slots = torch.ones(1, 8, 4)
    assert assign(slots, 0.12, 1).tolist() == [[0] * 8]
    assert assign(slots, 0.12, 3).tolist() == [list(range(8))], "one cluster is less than three"


@pytest.mark.parametrize(("least", "merged"), [(1, True), (2, True), (3, False)])
def test_two_clusters_are_kept_only_where_the_rule_allows(least, merged):
    slots = torch.stack([AXES[0], AXES[1], 2 * AXES[0], 3 * AXES[1]])[None]
    found = assign(slots, 0.12, least)[0].tolist()
    if merged:
        assert found[0] == found[2] != found[1] == found[3]
    else:
        assert found == [0, 1, 2, 3]


def test_three_groups_become_their_means_and_sums():
    members = [0, 1, 2, 0, 1, 0]
    length = torch.tensor([1.0, 2, 3, 4, 5, 6])
    slots = (AXES[members] * length[:, None])[None]
    attention = torch.rand((1, 6, 5), generator=torch.Generator().manual_seed(0))
    attention /= attention.sum(2, keepdim=True)
    groups = assign(slots, 0.12, 3)
    found = merge(slots, attention, groups)
    assert found.count.tolist() == [3] and found.active.tolist() == [[True] * 3 + [False] * 3]
    for axis in range(3):
        mine = torch.tensor(members) == axis
        row = int(groups[0, mine][0])
        assert (groups[0, mine] == row).all()
        assert torch.allclose(found.slots[0, row], slots[0, mine].mean(0), atol=1e-6)
        summed = attention[0, mine].sum(0)
        assert torch.allclose(found.attention[0, row], summed / summed.sum(), atol=1e-6)
    assert (found.slots[0, 3:] == 0).all(), "rows without a cluster are zero"
    assert torch.allclose(found.attention.sum(2), torch.ones(1, 6))


@pytest.mark.parametrize(("threshold", "clusters"), [(0.12, 3), (0.14, 2), (2.1, 1), (1e-6, 4)])
def test_the_threshold_is_a_cosine_distance_between_the_farthest_members(threshold, clusters):
    """0, 20, 30 and 90 degrees: 1 - cos 30 is 0.134, and by complete linkage 10 degrees join first."""
    assert len(set(cluster(at_angle([0, 20, 30, 90]), threshold))) == clusters


def test_lengths_do_not_matter_and_opposites_are_apart():
    slots = at_angle([0, 5, 180]) * np.array([[0.01], [100.0], [1.0]])
    first, second, third = cluster(slots, 0.12)
    assert first == second != third


@pytest.mark.parametrize("seed", range(5))
def test_numbers_have_no_gaps(seed):
    draws = torch.Generator().manual_seed(seed)
    slots = torch.randn((6, 8, 2), generator=draws)
    for row in assign(slots, 0.12, 1).tolist():
        assert set(row) == set(range(max(row) + 1))
    found = merge(slots, torch.full((6, 8, 3), 1 / 3), assign(slots, 0.12, 1))
    assert found.active.sum(1).tolist() == found.count.tolist()


def test_one_slot_and_samples_that_are_skipped():
    assert assign(torch.ones(2, 1, 4), 0.12, 1).tolist() == [[0], [0]]
    slots = torch.ones(2, 3, 4)
    assert assign(slots, 0.12, 1, torch.tensor([True, False])).tolist() == [[0, 1, 2], [0, 0, 0]]


def test_gradients_pass_to_every_member_alike():
    slots = torch.stack([AXES[0], AXES[0], AXES[1]])[None].requires_grad_()
    groups = torch.tensor([[0, 0, 1]])
    merge(slots, torch.full((1, 3, 2), 0.5), groups).slots[0, 0].sum().backward()
    assert slots.grad is not None
    assert torch.allclose(slots.grad[0], torch.tensor([[0.5], [0.5], [0.0]]).expand(3, 4))


@pytest.mark.parametrize("spoilt", [float("nan"), float("inf"), 0.0])
def test_slots_without_a_direction_are_left_alone(spoilt):
    slots = torch.ones(2, 3, 4)
    slots[0, 1] = spoilt
    assert assign(slots, 0.12, 1).tolist() == [[0, 1, 2], [0, 0, 0]]
