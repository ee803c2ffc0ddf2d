"""The mean token of the training set is learned from its first batches, and then rests."""

import torch

from stages.discovery.blocks.centring import SETTLED, Centring


def batches(count):
    draws = torch.Generator().manual_seed(0)
    return [3 + torch.randn(2, 3, 5, 4, generator=draws) for _ in range(count)]


def test_subtracts_the_mean_of_what_it_has_seen():
    centring = Centring(4)
    seen = batches(7)
    everything = torch.ones(2, 3, dtype=torch.bool)
    for tokens in seen:
        centring.learn(tokens, everything)
    mean = torch.stack(seen).flatten(0, 3).mean(dim=0)
    torch.testing.assert_close(centring(seen[0]), seen[0] - mean)


def test_frames_outside_of_the_video_do_not_count():
    centring = Centring(4)
    tokens = torch.full((1, 3, 5, 4), 2.0)
    tokens[:, 2] = 1e6
    centring.learn(tokens, torch.tensor([[True, True, False]]))
    torch.testing.assert_close(centring.mean, torch.full((4,), 2.0))


def test_settles():
    centring = Centring(4)
    everything = torch.ones(2, 3, dtype=torch.bool)
    for tokens in batches(SETTLED):
        centring.learn(tokens, everything)
    before = centring.mean.clone()
    centring.learn(torch.full((2, 3, 5, 4), 1e3), everything)
    assert torch.equal(centring.mean, before)
    assert set(centring.state_dict()) == {"mean", "batches"}, "a checkpoint has to hold both"
