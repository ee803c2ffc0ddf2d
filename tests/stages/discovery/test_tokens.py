"""Choosing tokens: random, repeatable, in order."""

import pytest
import torch

from stages.discovery.tokens import choose_kept, gather_tokens, pick_version


def draws(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(("ratio", "kept"), [(0, 12), (0.5, 6), (0.3, 9), (0.99, 1)])
def test_how_many_stay(ratio, kept):
    found = choose_kept((2, 3, 12), ratio, draws())
    assert found.shape == (2, 3, kept) and found.dtype == torch.int64
    assert (found.diff(dim=-1) > 0).all(), "ascending, none twice"
    assert found.min() >= 0 and found.max() < 12
    assert choose_kept((1, 1, 1), 0.9, draws()).tolist() == [[[0]]]


def test_draws_decide():
    shape = (3, 2, 40)
    assert torch.equal(choose_kept(shape, 0.5, draws(1)), choose_kept(shape, 0.5, draws(1)))
    assert not torch.equal(choose_kept(shape, 0.5, draws(1)), choose_kept(shape, 0.5, draws(2)))
    rows = choose_kept(shape, 0.5, draws(1)).flatten(0, 1).tolist()
    assert len({tuple(row) for row in rows}) == 6, "every frame has its own"


def test_every_position_is_kept_equally_often():
    found = choose_kept((1000, 1, 8), 0.5, draws())
    counts = found.flatten().bincount(minlength=8)
    assert counts.sum() == 4000 and (counts - 500).abs().max() < 100  # 6 standard deviations are 95


def test_gathering():
    tokens = torch.arange(2 * 3 * 5 * 2.0).view(2, 3, 5, 2)
    kept = choose_kept((2, 3, 5), 0.5, draws())
    found = gather_tokens(tokens, kept)
    for b in range(2):
        for t in range(3):
            assert torch.equal(found[b, t], tokens[b, t, kept[b, t]])


def stored(versions=3, batch=4, frames=5):
    """Tokens that say which version, sample, frame and position they are of."""
    features = {}
    for version in range(versions):
        kept = choose_kept((batch, frames, 6), 0.5, draws(version))
        sample, frame = torch.arange(batch)[:, None, None], torch.arange(frames)[None, :, None]
        features[f"mask{version}", "kept"] = kept[..., None].float()
        tokens = version * 1000 + sample * 100 + frame * 10 + kept
        features[f"mask{version}", "tokens"] = tokens[..., None].float()
    return features


def test_tokens_and_positions_are_of_the_same_version_sample_and_frame():
    tokens, kept = pick_version(stored(), 3, "tokens", draws())
    assert tokens.shape == (4, 5, 3, 1) and kept.shape == (4, 5, 3) and kept.dtype == torch.int64
    known = tokens[..., 0].long()
    assert torch.equal(known % 10, kept)
    assert (known // 10 % 10 == torch.arange(5)[None, :, None]).all()
    assert (known // 100 % 10 == torch.arange(4)[:, None, None]).all()
    versions = known // 1000
    assert (versions == versions[..., :1]).all() and set(versions.flatten().tolist()) == {0, 1, 2}


def test_picking_is_repeatable():
    first, again = (pick_version(stored(), 3, "tokens", draws(7)) for _ in range(2))
    assert torch.equal(first[0], again[0]) and torch.equal(first[1], again[1])
    other = pick_version(stored(), 3, "tokens", draws(8))
    assert not torch.equal(first[0], other[0])
