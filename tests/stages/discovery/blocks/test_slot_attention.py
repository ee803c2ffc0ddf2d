"""Slot attention: what is sure to hold whatever its weights are."""

import pytest
import torch
from torch.nn import functional

from stages.discovery.blocks.slot_attention import (
    SlotAttention,
    SlotInit,
    SlotUpdate,
    compete,
    cut,
)
from tests.stages.discovery.making_solv import noise

KINDS = [
    {},
    {"init": "learned", "norm_inputs": False, "extra_pass": True},
    {"hidden": 16, "update": "residual", "bias": True},
    {"hidden": 16, "normalised_hidden": True, "gradient": "implicit"},
]


def made(**options):
    torch.manual_seed(0)
    return SlotAttention(8, 4, **options).double()


def draws(seed=0):
    return torch.Generator().manual_seed(seed)


def tokens(batch=2, count=10):
    return noise(batch, count, 8).double()


def start_at(attend, slots):
    """Let ``attend`` start from ``slots`` (B, K, d)."""
    attend.initial.forward = lambda batch, draws=None: slots


@pytest.mark.parametrize("options", KINDS)
def test_attention_sums_to_one_over_slots_and_over_tokens(options):
    slots, over_slots, over_tokens = made(**options)(tokens(), draws())
    assert slots.shape == (2, 4, 8) and over_slots.shape == over_tokens.shape == (2, 4, 10)
    assert torch.allclose(over_slots.sum(1), torch.ones(2, 10).double())
    assert torch.allclose(over_tokens.sum(2), torch.ones(2, 4).double())
    assert (over_slots >= 0).all()


def test_a_slot_that_wins_nothing_still_has_weights():
    logits = torch.zeros(1, 2, 3)
    logits[0, 1] = -1e4
    over_slots, over_tokens = compete(logits)
    assert (over_slots[0, 1] == 0).all() and torch.allclose(over_tokens[0, 1], torch.full((3,), 1 / 3))


@pytest.mark.parametrize("options", KINDS)
def test_permuted_starts_give_permuted_slots(options):
    attend, start, order = made(**options), noise(2, 4, 8, seed=1).double(), [2, 0, 3, 1]
    start_at(attend, start)
    first = attend(tokens())
    start_at(attend, start[:, order])
    for part, permuted in zip(first, attend(tokens()), strict=True):
        assert torch.allclose(part[:, order], permuted)


@pytest.mark.parametrize("options", KINDS)
def test_the_order_of_tokens_does_not_matter(options):
    attend, order = made(**options), [9, 3, 1, 0, 2, 8, 7, 6, 5, 4]
    slots, over_slots, _ = attend(tokens(), draws())
    permuted_slots, permuted, _ = attend(tokens()[:, order], draws())
    assert torch.allclose(slots, permuted_slots) and torch.allclose(over_slots[:, :, order], permuted)


def test_one_step_written_out():
    attend, start, x = made(iterations=1), noise(2, 4, 8, seed=1).double(), tokens()
    start_at(attend, start)
    normed = functional.layer_norm(x, (8,))
    q, k, v = attend.to_q(functional.layer_norm(start, (8,))), attend.to_k(normed), attend.to_v(normed)
    shares = torch.einsum("bkd,bnd->bkn", q, k).div(8**0.5).softmax(1)
    over_tokens = (shares + 1e-8) / (shares + 1e-8).sum(2, keepdim=True)
    gathered = torch.einsum("bkn,bnd->bkd", over_tokens, v)
    expected = attend.update.gru(gathered.flatten(0, 1), start.flatten(0, 1)).view(2, 4, 8)
    found, over_slots, _ = attend(x)
    assert torch.allclose(found, expected) and torch.allclose(over_slots, shares)


def gradients(gradient, iterations=3):
    """Norms of the gradients that reach the start and the keys."""
    attend, start = made(iterations=iterations, gradient=gradient), noise(2, 4, 8, seed=1).double()
    start_at(attend, start.requires_grad_())
    attend(tokens())[0].square().sum().backward()
    return start.grad, attend.to_k.weight.grad


def test_gradients_pass_through_the_steps_as_asked():
    full, bilevel = gradients("full"), gradients("bilevel")
    assert full[0].abs().sum() > 0 and bilevel[0].abs().sum() > 0
    assert not torch.allclose(full[0], bilevel[0], rtol=0.01)
    assert not torch.allclose(full[1], bilevel[1], rtol=0.01)
    for kind in ("fixed_point", "implicit"):
        start, keys = gradients(kind)
        assert start is None, "nothing before the last step gets a gradient"
        assert keys.abs().sum() > 0
    assert torch.allclose(gradients("fixed_point")[1], bilevel[1]), "bilevel adds the path to the start alone"
    assert torch.allclose(gradients("implicit", 2)[1], gradients("fixed_point", 3)[1])


def test_cutting_keeps_the_values():
    slots, start = noise(1, 2, 3).requires_grad_(), noise(1, 2, 3, seed=1)
    for kind in ("full", "implicit", "fixed_point", "bilevel"):
        assert torch.allclose(cut(slots, start, 2, 3, kind), slots)
        assert cut(slots, start, 1, 3, kind) is slots


def test_gaussian_starts_are_drawn_and_learned_ones_are_not():
    torch.manual_seed(0)
    drawn, learned = SlotInit(4, 8, "gaussian"), SlotInit(4, 8, "learned")
    assert torch.equal(drawn(3, draws(1)), drawn(3, draws(1)))
    assert not torch.equal(drawn(3, draws(1)), drawn(3, draws(2)))
    assert torch.equal(learned(3, draws(1)), learned(1, draws(2)).expand(3, -1, -1))
    with torch.no_grad():
        drawn.mean.fill_(2.0), drawn.log_std.fill_(-1.0)
    many = drawn(5000, draws())
    assert abs(many.mean().item() - 2) < 0.01 and abs(many.std().item() - 0.3679) < 0.01


def test_updates():
    torch.manual_seed(0)
    slots, gathered = noise(2, 3, 8), noise(2, 3, 8, seed=1)
    assert torch.equal(SlotUpdate(8, 0, "residual")(gathered, slots), slots + gathered)
    update = SlotUpdate(8, 0, "gru")
    assert torch.allclose(update(gathered, slots)[1, 2], update.gru(gathered[1, 2], slots[1, 2]))
