"""The autoregressive decoder: against torch's own, and what it may and may not look at."""

import torch
from torch import nn

from stages.discovery.blocks.autoregressive import AutoregressiveDecoder
from tests.stages.discovery.making_solv import noise


def made():
    torch.manual_seed(0)
    return AutoregressiveDecoder(6, 8, layers=2, heads=2), noise(3, 4, 6), noise(3, 10, 8, seed=1)


def test_against_torchs_transformer():
    decoder, slots, features = made()
    whole = nn.TransformerDecoder(decoder.layers[0], 2)
    whole.layers = decoder.layers
    before = torch.cat([decoder.first.expand(3, -1, -1), features[:, :-1]], dim=1)
    expected = whole(
        decoder.feature_norm(decoder.feature_linear(before)),
        decoder.slot_norm(decoder.slot_linear(slots)),
        tgt_mask=nn.Transformer.generate_square_subsequent_mask(10),
    )
    assert torch.allclose(decoder(slots, features)[0], expected, atol=1e-5)


def test_masks_are_what_the_last_block_attends_to():
    decoder, slots, features = made()
    seen = []
    last = decoder.layers[1].multihead_attn
    last.register_forward_hook(lambda module, given, result: seen.append(result[1]))
    _, masks = decoder(slots, features)
    assert masks.shape == (3, 4, 10) and torch.equal(masks.mT, seen[0])
    assert torch.allclose(masks.sum(1), torch.ones(3, 10))


def test_a_patch_depends_on_those_before_it_alone():
    decoder, slots, features = made()
    changed = features.clone()
    changed[:, 4] += 1
    for before, after in zip(decoder(slots, features), decoder(slots, changed), strict=True):
        before, after = (part.mT if part.shape[1] == 4 else part for part in (before, after))
        assert torch.allclose(before[:, :5], after[:, :5], atol=1e-6)
        assert not torch.allclose(before[:, 5:], after[:, 5:])


def test_gradients_reach_slots_and_not_features():
    decoder, slots, features = made()
    slots.requires_grad_(), features.requires_grad_()
    decoder(slots, features)[0].square().sum().backward()
    assert features.grad is None and slots.grad.abs().sum() > 0
    assert all(parameter.grad is not None for parameter in decoder.parameters())
