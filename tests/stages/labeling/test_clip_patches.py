import copy

import pytest
import torch
from open_clip.modified_resnet import ModifiedResNet

from stages.errors import SettingsError
from stages.labeling.clip_patches import PatchTower


@pytest.fixture(scope="module")
def tower(tiny):
    return PatchTower(tiny.visual)


def test_the_image_embedding_is_open_clips(tower, tiny):
    images = torch.randn(3, 3, 32, 32)
    outputs = tower(images)
    torch.testing.assert_close(outputs.image, tiny.model.encode_image(images))
    assert outputs.penultimate.shape == (3, 17, 32) and outputs.plain.shape == (3, 16, 24)
    intermediate = tiny.visual.forward_intermediates(
        images, indices=[0], output_fmt="NLC", output_extra_tokens=True
    )
    torch.testing.assert_close(outputs.penultimate[:, 1:], intermediate["image_intermediates"][0])
    torch.testing.assert_close(outputs.penultimate[:, :1], intermediate["image_intermediates_prefix"][0])


def test_averaging_towers(tower, tiny):
    images = torch.randn(2, 3, 32, 32)
    for late in (False, True):
        visual = copy.deepcopy(tiny.visual)
        visual.pool_type, visual.final_ln_after_pool = "avg", late
        torch.testing.assert_close(PatchTower(visual)(images).image, visual(images))


def test_other_grids(tower):
    outputs = tower(torch.randn(1, 3, 16, 56))
    assert outputs.plain.shape == (1, 2 * 7, 24)
    table = tower.visual.positional_embedding
    resized = tower.positions((8, 8))
    assert torch.equal(resized[0], table[0]) and torch.equal(tower.positions((4, 4)), table)
    # Bicubic weights for a factor of two, in the middle of the table, by hand: the point lies at 1.25.
    square = table[1:].unflatten(0, (4, 4))
    a, t = -0.75, 0.25
    near, far = (a + 2) * t**3 - (a + 3) * t**2 + 1, (a + 2) * (1 - t) ** 3 - (a + 3) * (1 - t) ** 2 + 1
    outer = [a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a for x in (1 + t, 2 - t)]
    weights = torch.tensor([outer[0], near, far, outer[1]])
    row = torch.einsum("rcd,c->rd", square, weights)
    expected = torch.einsum("rd,r->d", row, weights)
    torch.testing.assert_close(resized[1:].unflatten(0, (8, 8))[3, 3], expected, atol=1e-5, rtol=1e-5)


def test_it_stays_frozen(tower):
    tower.train()
    assert not tower.visual.training
    assert not tower(torch.randn(1, 3, 32, 32).requires_grad_()).image.requires_grad


@pytest.mark.parametrize("size", [(30, 32), (32, 0)])
def test_broken_patches_are_refused(tower, size):
    with pytest.raises(SettingsError, match=rf"{size[0]}x{size[1]} pixels.*multiples of 8"):
        tower(torch.randn(1, 3, *size))


def test_towers_of_another_kind():
    tower = ModifiedResNet([1, 1, 1, 1], output_dim=8, heads=2, image_size=32, width=8)
    with pytest.raises(SettingsError, match=r"RN50 has no patch features.*ModifiedResNet.*name crops"):
        PatchTower(tower, "RN50")
