"""Small feed-forward blocks against their formulas."""

import pytest
import torch
from torch.nn import functional

from stages.discovery.blocks.mlp import InputProjection, ResidualMLP, hidden_layers
from tests.stages.discovery.making_solv import noise


def test_projection_written_out():
    torch.manual_seed(0)
    block, x = InputProjection(6, 4), noise(2, 3, 6)
    hidden = functional.linear(functional.layer_norm(x, (6,)), block.linear1.weight, block.linear1.bias)
    found = functional.linear(hidden.clamp_min(0), block.linear2.weight, block.linear2.bias)
    assert torch.allclose(block(x), functional.layer_norm(found, (4,)), atol=1e-6)


@pytest.mark.parametrize("hidden", [0, 10])
def test_norms_can_be_left_out(hidden):
    torch.manual_seed(0)
    block, x = InputProjection(6, 4, norm_out=False, hidden=hidden, norm_in=False), noise(5, 6)
    assert block.linear1.out_features == (hidden or 6)
    assert torch.allclose(block(x), block.linear2(block.linear1(x).relu()))
    assert not any("norm" in name for name, _ in block.named_parameters())


def test_without_input_norm_scale_counts_and_with_it_not():
    x = noise(5, 6)
    for normed in (True, False):
        torch.manual_seed(0)
        block = InputProjection(6, 4, norm_in=normed)
        assert torch.allclose(block(x), block(3 * x + 1), atol=1e-4) == normed


def test_the_residual_passes_what_the_mlp_does_not_change():
    block, x = ResidualMLP(4, 8), noise(2, 3, 4)
    with torch.no_grad():
        block.linear2.weight.zero_(), block.linear2.bias.zero_()
    assert torch.equal(block(x), x)


def test_dropout_is_of_training_alone():
    torch.manual_seed(0)
    block, x = ResidualMLP(4, 8, dropout=0.5), noise(50, 4)
    added = block.train()(x) - x
    assert 0.3 < (added == 0).float().mean() < 0.7
    assert torch.equal(block.eval()(x), block(x))


def test_widths_between():
    layers = hidden_layers([3, 5, 2])
    assert [(layer.in_features, layer.out_features) for layer in layers] == [(3, 5), (5, 2)]
    assert len(hidden_layers([3])) == 0
