"""Invariant slot attention: against its formula, and what its name promises."""

import pytest
import torch

from stages.discovery.blocks.invariant import InvariantSlotAttention
from stages.discovery.tokens import choose_kept
from tests.stages.discovery.making_solv import noise

ROWS, COLUMNS = 4, 5


def made(seed=0, slots=3):
    """A double-precision module whose slots look at places of their own."""
    torch.manual_seed(seed)
    attend = InvariantSlotAttention(8, slots, ROWS, COLUMNS, hidden=16).double().eval()
    with torch.no_grad():
        attend.initial_positions.uniform_(-0.5, 0.5)
        attend.initial_scales.uniform_(0.3, 0.6)
        attend.relative_grid_linear.weight.mul_(3)
    return attend


def tokens(batch=2, count=ROWS * COLUMNS):
    return noise(batch, count, 8).double()


def some_kept(batch=2):
    return choose_kept((batch, 1, ROWS * COLUMNS), 0.5, torch.Generator().manual_seed(3))[:, 0]


def direct(attend, x, kept=None):
    """As the paper writes it: keys and values of every slot and token, through the whole of f."""
    grid = attend.coordinate_grid[0].expand(len(x), -1, -1)
    if kept is not None:
        grid = torch.stack([each[chosen] for each, chosen in zip(grid, kept, strict=True)])
    slots = attend.initial.vectors.expand(len(x), -1, -1)
    position, scale = (
        each.expand(len(x), -1, -1, -1) for each in (attend.initial_positions, attend.initial_scales)
    )
    for step in range(attend.iterations + 1):
        normed = attend.slot_norm(slots)
        seen = attend.relative_grid_linear((grid[:, None] - position) / (5 * scale))
        keys = attend.token_mlp(attend.to_k(x)[:, None] + seen)
        values = attend.token_mlp(attend.to_v(x)[:, None] + seen)
        logits = torch.einsum("bkd,bknd->bkn", attend.to_q(normed), keys) / 8**0.5
        shares = logits.softmax(1)
        weights = (shares + 1e-8) / (shares + 1e-8).sum(2, keepdim=True)
        position = (weights[..., None] * grid[:, None]).sum(2, keepdim=True)
        scale = (weights[..., None] * (grid[:, None] - position) ** 2).sum(2, keepdim=True).sqrt()
        if step == attend.iterations:
            return attend.output_linear(normed), shares, weights
        slots = attend.update((weights[..., None] * values).sum(2), slots)
    raise AssertionError


@pytest.mark.parametrize("dropped", [False, True])
def test_against_the_direct_formulation(dropped):
    """Results to rounding, and every parameter's gradient."""
    attend, kept = made(), some_kept() if dropped else None
    x = tokens(count=10 if dropped else 20)
    weigh = noise(2, 3, 8, seed=5).double()
    results, gradients = [], []
    for run in (attend, lambda x, kept: direct(attend, x, kept)):
        attend.zero_grad()
        found = run(x, kept)
        ((found[0] * weigh).sum() + found[1].square().sum() + found[2].square().sum()).backward()
        results.append(found)
        gradients.append({name: p.grad.clone() for name, p in attend.named_parameters()})
    for ours, plain in zip(*results, strict=True):
        assert torch.allclose(ours, plain, rtol=1e-9, atol=1e-11)
    for name, plain in gradients[1].items():
        assert torch.allclose(gradients[0][name], plain, rtol=1e-7, atol=1e-9), name
        assert plain.abs().max() > 1e-8, f"{name} is not reached: nothing is compared"


def test_attention_sums_to_one():
    _, over_slots, over_tokens = made()(tokens())
    assert torch.allclose(over_slots.sum(1), torch.ones(2, 20).double())
    assert torch.allclose(over_tokens.sum(2), torch.ones(2, 3).double())


def test_permuted_starts_give_permuted_slots():
    attend, order = made(slots=4), [2, 0, 3, 1]
    first = attend(tokens())
    with torch.no_grad():
        for start in (attend.initial.vectors, attend.initial_scales, attend.initial_positions):
            start.copy_(start[:, order].clone())
    for part, permuted in zip(first, attend(tokens()), strict=True):
        assert torch.allclose(part[:, order], permuted)


@pytest.mark.parametrize(("factor", "move"), [(1.0, (0.4, -0.3)), (2.5, (0.0, 0.0)), (0.5, (-1.0, 2.0))])
def test_moved_and_scaled_pictures_give_the_same_slots(factor, move):
    """The whole coordinate system moves, and the places where slots start with it."""
    attend, shift = made(), torch.tensor(move).double()
    first = attend(tokens())
    with torch.no_grad():
        attend.coordinate_grid.mul_(factor).add_(shift)
        attend.initial_positions.mul_(factor).add_(shift)
        attend.initial_scales.mul_(factor)
    for part, moved in zip(first, attend(tokens()), strict=True):
        assert torch.allclose(part, moved, atol=1e-9)


def test_coordinates_matter_beyond_that():
    """Or the test above would hold for a module that never looks at coordinates."""
    attend = made()
    first = attend(tokens())[0]
    with torch.no_grad():
        attend.coordinate_grid[..., 0].mul_(-1)
    assert not torch.allclose(first, attend(tokens())[0], atol=1e-4)


def test_the_order_of_kept_tokens_does_not_matter():
    attend, kept, x = made(), some_kept(), tokens(count=10)
    order = torch.randperm(10, generator=torch.Generator().manual_seed(0))
    slots, over_slots, _ = attend(x, kept)
    permuted_slots, permuted, _ = attend(x[:, order], kept[:, order])
    assert torch.allclose(slots, permuted_slots) and torch.allclose(over_slots[:, :, order], permuted)


def test_all_positions_kept_is_keeping_none_out():
    attend = made()
    everything = torch.arange(20).expand(2, -1)
    for part, same in zip(attend(tokens()), attend(tokens(), everything), strict=True):
        assert torch.allclose(part, same)


def test_a_kept_column_gives_finite_gradients():
    attend = made()
    kept = torch.tensor([[0, 5, 10, 15]])
    attend(tokens(1, 4), kept)[0].sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in attend.parameters())
