"""Binding over time: what reaches the centre frame, and what does not."""

import torch

from stages.discovery.blocks.temporal import TemporalBinder
from tests.stages.discovery.making_solv import noise


def binder():
    torch.manual_seed(0)
    return TemporalBinder(8, 5, layers=2, heads=2, hidden=16).eval()


def there(*frames):
    return torch.tensor([[frame in frames for frame in range(5)]])


def test_slots_of_other_indices_do_not_matter():
    bind, slots = binder(), noise(1, 5, 3, 8)
    changed = slots.clone()
    changed[:, :, 1] += 1
    before, after = bind(slots, there(0, 1, 2, 3, 4)), bind(changed, there(0, 1, 2, 3, 4))
    assert torch.allclose(before[:, :, [0, 2]], after[:, :, [0, 2]], atol=1e-6)
    assert not torch.allclose(before[:, :, 1], after[:, :, 1], atol=1e-2)


def test_permuted_slots_give_permuted_results():
    bind, slots, order = binder(), noise(2, 5, 4, 8), [2, 0, 3, 1]
    available = there(0, 1, 2, 3, 4).expand(2, -1)
    assert torch.allclose(bind(slots, available)[:, :, order], bind(slots[:, :, order], available), atol=1e-6)


def test_every_frame_is_seen_and_its_place_too():
    bind, slots = binder(), noise(1, 5, 1, 8)
    everywhere = there(0, 1, 2, 3, 4)
    centre = bind(slots, everywhere)[:, 2]
    for frame in range(5):
        changed = slots.clone()
        changed[:, frame] = noise(1, 8, seed=9)
        assert not torch.allclose(bind(changed, everywhere)[:, 2], centre, atol=1e-4)
    swapped = slots[:, [1, 0, 2, 3, 4]]
    assert not torch.allclose(bind(swapped, everywhere)[:, 2], centre, atol=1e-5)


def test_missing_frames_have_no_influence():
    """In training mode without dropout and in eval mode without gradients, which take different paths."""
    bind, slots, available = binder(), noise(1, 5, 2, 8), there(1, 2, 3)
    changed = slots.clone()
    changed[:, [0, 4]] = 100
    with torch.no_grad():
        quick = bind(slots, available)[:, 1:4]
        assert torch.allclose(bind(changed, available)[:, 1:4], quick, atol=1e-6)
    assert torch.allclose(bind(slots, available)[:, 1:4], quick, atol=1e-6)


def test_a_single_frame_is_enough_and_gradients_are_finite():
    bind, slots = binder().train(), noise(1, 5, 2, 8).requires_grad_()
    found = bind(slots, there(2))[:, 2]
    found.square().sum().backward()
    assert found.isfinite().all() and slots.grad is not None and slots.grad.isfinite().all()
    assert (slots.grad[:, [0, 1, 3, 4]] == 0).all() and slots.grad[:, 2].abs().sum() > 0
