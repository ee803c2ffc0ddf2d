"""The decoder against its formula, written out slot by slot."""

import pytest
import torch

from stages.discovery.blocks.decoder import BroadcastDecoder
from tests.stages.discovery.making_solv import noise

ACTIVE = torch.tensor([[True, True, True, False], [True, False, False, False], [False, True, False, True]])


def made(relative_grid=True, hidden=(7, 5)):
    torch.manual_seed(0)
    decoder = BroadcastDecoder(6, 9, 12, hidden, relative_grid).double()
    slots = noise(3, 4, 6).double()
    relative = noise(3, 4, 12, 2, seed=1).double() if relative_grid else None
    return decoder, slots, relative


def direct(decoder, slots, active, relative):
    """Every slot broadcast, through the whole MLP, then competing: as the paper writes it."""
    reconstruction, masks = [], torch.zeros(3, 4, 12, dtype=torch.float64)
    for b in range(3):
        features, logits, mine = [], [], active[b].nonzero()[:, 0]
        for k in mine:
            rows = slots[b, k] + decoder.position_embedding[0]
            if relative is not None:
                rows = rows + decoder.relative_grid_linear(relative[b, k])
            for layer in decoder.layers[:-1]:
                rows = layer(rows).relu()
            rows = decoder.layers[-1](rows)
            features.append(rows[:, :-1]), logits.append(rows[:, -1])
        alpha = torch.stack(logits).softmax(dim=0)
        masks[b, mine] = alpha
        reconstruction.append((torch.stack(features) * alpha[..., None]).sum(0))
    return torch.stack(reconstruction), masks


@pytest.mark.parametrize("relative_grid", [True, False])
@pytest.mark.parametrize("hidden", [(7,), (7, 5, 8)])
def test_against_the_direct_formulation(relative_grid, hidden):
    decoder, slots, relative = made(relative_grid, hidden)
    weights = noise(3, 12, 9, seed=2).double()
    gradients = []
    for decode in (decoder, lambda *given: direct(decoder, *given)):
        decoder.zero_grad()
        reconstruction, masks = decode(slots, ACTIVE, relative)
        ((reconstruction * weights).sum() + masks.square().sum()).backward()
        gradients.append([p.grad.clone() for p in decoder.parameters()])
        results = (reconstruction, masks)
        if decode is decoder:
            first = results
    for ours, plain in zip((*first, *gradients[0]), (*results, *gradients[1]), strict=True):
        assert torch.allclose(ours, plain, rtol=1e-10, atol=1e-12)


def test_masks_compete_among_active_slots_alone():
    decoder, slots, relative = made()
    _, masks = decoder(slots, ACTIVE, relative)
    assert (masks[~ACTIVE] == 0).all()
    assert torch.allclose(masks.sum(1), torch.ones(3, 12, dtype=torch.float64))
    assert torch.allclose(masks[1, 0], torch.ones(12, dtype=torch.float64)), "alone, it wins everything"


def test_inactive_slots_have_no_influence():
    decoder, slots, relative = made()
    other = torch.where(ACTIVE[..., None], slots, torch.full_like(slots, torch.nan)).requires_grad_()
    for first, second in zip(decoder(slots, ACTIVE, relative), decoder(other, ACTIVE, relative), strict=True):
        assert torch.equal(first, second)
    decoder(other, ACTIVE, relative)[0].sum().backward()
    assert other.grad is not None and (other.grad[~ACTIVE] == 0).all() and (other.grad[ACTIVE] != 0).any()


def test_permuted_slots_give_permuted_masks_and_the_same_features():
    decoder, slots, relative = made()
    order = [3, 1, 0, 2]
    features, masks = decoder(slots, ACTIVE, relative)
    permuted_features, permuted = decoder(slots[:, order], ACTIVE[:, order], relative[:, order])
    assert torch.allclose(features, permuted_features) and torch.allclose(masks[:, order], permuted)
