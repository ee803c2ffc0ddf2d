"""DINOSAUR's model with either decoder."""

import pytest
import torch

from stages.discovery.contract import Batch, Progress
from stages.errors import SettingsError
from tests.stages.discovery.making_solv import SHAPE, noise
from tests.stages.discovery.making_vol import small_dinosaur


@pytest.mark.parametrize("autoregressive", [False, True])
def test_shapes_sums_and_a_training_step(autoregressive):
    model = small_dinosaur(autoregressive=autoregressive).train()
    found = model(noise(3, 1, SHAPE.tokens, SHAPE.width))
    assert found.slots.shape == (3, 4, 8) and found.reconstruction.shape == (3, 1, 12, 6)
    for part in (found.masks, found.attention):
        assert part.shape == (3, 1, 4, 12)
        assert torch.allclose(part.sum(2), torch.ones(3, 1, 12), atol=1e-5)
    assert not torch.allclose(found.masks, found.attention)
    batch = Batch({("base", "tokens"): noise(2, 2, 12, 6)}, torch.ones(2, 2, dtype=torch.bool), SHAPE)
    model.training_step(batch, Progress(0, 1, 0, 1), torch.Generator())["loss"].backward()
    assert {name for name, p in model.named_parameters() if p.grad is None} == set()


def test_heads_that_can_not_share_the_channels_are_named():
    with pytest.raises(SettingsError, match="dinosaur.heads=4: the 6 channels of the features tokens"):
        small_dinosaur(autoregressive=True, heads=4)
    small_dinosaur(heads=4)
