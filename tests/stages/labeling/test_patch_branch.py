import math

import pytest
import torch

from stages.labeling.clip_patches import PatchTower
from stages.labeling.patch_branch import PatchBranch, contrast, optimiser, rate_factor


@pytest.fixture(scope="module")
def tower(tiny):
    return PatchTower(tiny.visual)


@pytest.fixture
def branch(tower):
    torch.manual_seed(0)
    return PatchBranch.of(tower)


def test_gradients_reach_the_branch_and_nothing_else(tower, branch):
    """Acceptance check 4 of the methods sheet, section 12."""
    tower.requires_grad_(True)
    try:
        penultimate = tower.penultimate(torch.randn(3, 3, 32, 40)).requires_grad_()
        image = tower.finish(penultimate)[0].requires_grad_()
        contrast(branch(penultimate), image).loss.backward()
        assert all(p.grad is not None and p.grad.abs().max() > 0 for p in branch.parameters())
        assert {name.split(".")[0] for name, _ in branch.named_parameters()} == {"block", "norm", "embedder"}
        assert all(p.grad is None for p in tower.parameters())
        assert penultimate.grad is None and image.grad is None
    finally:
        tower.requires_grad_(False)


def test_the_order_of_patches_is_nothing_to_the_loss(branch):
    tokens, image = torch.randn(4, 17, 32), torch.randn(4, 24)
    turned = tokens[:, [0, *(1 + torch.randperm(16)).tolist()]]
    torch.testing.assert_close(contrast(branch(tokens), image).loss, contrast(branch(turned), image).loss)


def test_equal_images_cost_the_logarithm_of_their_number(branch):
    tokens, image = torch.randn(1, 17, 32).expand(5, -1, -1), torch.randn(1, 24).expand(5, -1)
    torch.testing.assert_close(contrast(branch(tokens), image).loss, torch.tensor(math.log(5)))


def test_loss_of_a_case_by_hand():
    """Two images with one patch each: pooled is the patch; cosines 1 and 0 against 0 and 1."""
    found = contrast(torch.tensor([[[2.0, 0]], [[0, 3.0]]]), torch.tensor([[5.0, 0], [0, 7]]))
    torch.testing.assert_close(found.loss, torch.tensor(math.log(1 + math.exp(-1))))
    torch.testing.assert_close(found.weights, torch.ones(2, 1))
    # Two patches with raw dot products ln 3 and 0 count 3/4 and 1/4, whatever their lengths.
    found = contrast(torch.tensor([[[math.log(3), 0], [0, 100.0]]]), torch.tensor([[1.0, 0]]))
    torch.testing.assert_close(found.weights, torch.tensor([[0.75, 0.25]]))


def test_optimisation_as_published(branch):
    group = optimiser(branch).param_groups[0]
    assert (group["lr"], group["momentum"], group["weight_decay"]) == (1.0, 0.9, 1e-4)
    assert len(group["params"]) == len(list(branch.parameters()))
    assert rate_factor(0, 100) == 1 and rate_factor(100, 100) == pytest.approx(1e-7)
    assert rate_factor(50, 100) == pytest.approx(0.5, abs=1e-6)
    assert 0.1 * rate_factor(100, 100, rate=0.1) == pytest.approx(1e-7)


def test_it_learns(tower, branch):
    """A few steps bring patch features nearer to their own image than to others'."""
    outputs = tower(torch.randn(16, 3, 32, 32))
    steps = optimiser(branch, rate=0.1)
    losses = []
    for _ in range(12):
        loss = contrast(branch(outputs.penultimate), outputs.image).loss
        steps.zero_grad()
        loss.backward()
        steps.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
