"""Coordinates of patches, and as slots see them."""

import torch

from stages.discovery.blocks.grid import coordinates, locate, relative
from tests.stages.discovery.making_solv import noise


def weights(slots=3, tokens=12):
    return noise(2, slots, tokens).double().softmax(dim=2)


def test_x_comes_first_and_rows_after_each_other():
    found = coordinates(2, 3)
    assert found.dtype == torch.float32
    assert found.tolist() == [[-1, -1], [0, -1], [1, -1], [-1, 1], [0, 1], [1, 1]]


def test_one_token_and_even_weights():
    grid = coordinates(3, 4)[None]
    point = torch.zeros(1, 1, 12)
    point[0, 0, 7] = 1
    positions, scales = locate(point, grid)
    assert torch.equal(positions[0, 0], grid[0, 7])
    assert (scales > 0).all() and (scales < 1e-5).all(), "never zero: it is divided by"
    positions, scales = locate(torch.full((1, 1, 12), 1 / 12), grid)
    assert torch.allclose(positions, torch.zeros(1, 1, 2), atol=1e-6)
    assert torch.allclose(scales[0, 0], grid[0].std(dim=0, correction=0), atol=1e-6)


def test_location_follows_moved_and_scaled_coordinates():
    grid = coordinates(3, 4)[None].double()
    share, move, factor = weights(), torch.tensor([0.3, -0.7]), torch.tensor([2.0, 0.5])
    positions, scales = locate(share, grid)
    moved_positions, moved_scales = locate(share, grid * factor + move)
    assert torch.allclose(moved_positions, positions * factor + move)
    assert torch.allclose(moved_scales, scales * factor)
    seen = relative(grid, positions, scales)
    assert torch.allclose(seen, relative(grid * factor + move, moved_positions, moved_scales))


def test_relative_coordinates_have_mean_0_and_deviation_a_fifth():
    grid, share = coordinates(3, 4)[None].double(), weights()
    seen = relative(grid, *locate(share, grid))
    assert seen.shape == (2, 3, 12, 2)
    mean = torch.einsum("bkn,bknc->bkc", share, seen)
    assert torch.allclose(mean, torch.zeros_like(mean), atol=1e-12)
    variance = torch.einsum("bkn,bknc->bkc", share, seen.square())
    assert torch.allclose(variance, torch.full_like(variance, 0.04))


def test_tokens_of_one_row_give_finite_gradients():
    """The published code gives NaN here."""
    logits = noise(1, 2, 4).requires_grad_()
    grid = torch.stack([torch.linspace(-1, 1, 4), torch.zeros(4)], dim=-1)[None]
    share = logits.softmax(dim=2)
    relative(grid, *locate(share, grid)).square().sum().backward()
    assert logits.grad is not None and logits.grad.isfinite().all()
