import pytest
import torch

from stages.errors import SettingsError
from stages.features.backbones.video_sizes import BlockSizes, VideoVitSizes
from stages.pretraining.masked_video import MaskedVideo, make_optimiser, pixel_patches, tube_mask

SIZES = VideoVitSizes(width=24, depth=1, heads=2, patch=4, native=(4, 4, 4))


@pytest.fixture
def model():
    torch.manual_seed(0)
    return MaskedVideo(SIZES, BlockSizes(12, 1, 2))


@pytest.fixture
def video():
    return torch.randn(2, 3, 4, 16, 16, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def mask():
    return tube_mask(2, 4, 16, 0.75, torch.Generator().manual_seed(2))


def test_tubes_are_hidden():
    mask = tube_mask(8, 5, 196, draws=torch.Generator().manual_seed(0))
    frames = mask.view(8, 5, 196)
    assert mask.dtype == torch.bool and (frames.sum(2) == 176).all()
    assert torch.equal(frames, frames[:, :1].expand_as(frames))
    assert len(frames[:, 0].unique(dim=0)) == 8
    assert torch.equal(mask, tube_mask(8, 5, 196, draws=torch.Generator().manual_seed(0)))
    assert frames[:, 0].any(0).sum() > 190  # every place has its turn
    for share, patches in ((0.9, 1), (0.0, 16), (1.0, 16)):
        with pytest.raises(SettingsError, match=f"a masked share of {share} hides"):
            tube_mask(1, 4, patches, share)


def test_patches_are_cut_in_token_order():
    video = torch.arange(2 * 3 * 2 * 4 * 6).view(2, 3, 2, 4, 6)
    cut = pixel_patches(video, 2)
    assert cut.shape == (2, 2 * 2 * 3, 4, 3)
    for token, (t, row, column) in enumerate(torch.cartesian_prod(*map(torch.arange, (2, 2, 3))).tolist()):
        patch = video[:, :, t, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
        assert torch.equal(cut[:, token], patch.flatten(2).transpose(1, 2))


def test_targets_are_normalised_by_patch_and_colour(model, video, mask):
    video[:, :, :, 8:] = 0.7  # flat patches have no deviation
    target = model.target(video, mask).unflatten(2, (16, 3))
    everything = torch.zeros(2, 64, 16, 3)
    everything[mask] = target.flatten(0, 1)
    flat = torch.arange(64) % 16 >= 8
    assert everything[:, flat].abs().max() < 1e-3
    seen = everything[:, ~flat][mask[:, ~flat]]
    assert seen.mean(1).abs().max() < 1e-5 and (seen.std(1) - 1).abs().max() < 1e-4


@torch.inference_mode()
def test_only_visible_patches_are_looked_at(model, video, mask):
    painted = model.predict(video, mask)
    assert painted.shape == model.target(video, mask).shape == (2, 48, 48)
    hidden = mask.view(2, 1, 4, 4, 4).repeat_interleave(4, 3).repeat_interleave(4, 4).expand_as(video)
    assert torch.equal(model.predict(video.masked_fill(hidden, 9.0), mask), painted)
    changed = model.predict(video.masked_fill(~hidden, 9.0), mask)
    assert (changed - painted).abs().max() > 1e-2
    assert (painted[:, 1:] - painted[:, :-1]).abs().amax(2).min() > 0  # each place is painted on its own


def test_it_learns(model, video, mask):
    """A gradient reaches everything, and one clip can be learned by heart."""
    optimiser = make_optimiser(model, 1e-2)
    first = model.loss(video, mask)
    first.backward()
    assert all(p.grad is not None and p.grad.any() for p in model.parameters())
    for _ in range(40):
        optimiser.zero_grad()
        loss = model.loss(video, mask)
        loss.backward()
        optimiser.step()
    assert loss < 0.7 * first


def test_what_decays(model):
    optimiser = make_optimiser(model, 3e-4)
    names = {id(p): name for name, p in model.named_parameters()}
    decays = {names[id(p)]: g["weight_decay"] for g in optimiser.param_groups for p in g["params"]}
    assert decays.keys() == set(names.values())
    assert {group["betas"] for group in optimiser.param_groups} == {(0.9, 0.95)}
    plain = {name for name, decay in decays.items() if not decay}
    assert plain == {n for n in decays if n == "mask_token" or n.endswith("bias") or ".norm" in n}
    assert {decay for name, decay in decays.items() if name not in plain} == {0.05}


def test_masks_and_patches_that_can_not_be(model, video, mask):
    uneven = mask.clone()
    uneven[0, uneven[0].nonzero()[0]] = False
    for wrong in (uneven, torch.zeros_like(mask), torch.ones_like(mask)):
        with pytest.raises(ValueError, match="clips of 64 tokens with"):
            model.loss(video, wrong)
    with pytest.raises(SettingsError, match="patches of 2 pixels or more"):
        MaskedVideo(VideoVitSizes(width=6, depth=1, heads=1, patch=1))
