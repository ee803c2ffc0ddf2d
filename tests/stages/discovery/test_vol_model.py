"""VOL's model: what is shared by the frames of a clip, and by the clips of a batch."""

import pytest
import torch

from stages.discovery.contract import Batch, FeatureShape, Progress
from stages.discovery.vol import VolMethod
from stages.discovery.vol_model import VolModel, clips_of
from stages.errors import SettingsError
from tests.stages.discovery.making_solv import SHAPE, noise
from tests.stages.discovery.making_vol import small_vol

GRID = (SHAPE.rows, SHAPE.columns)


def clips(batch=2, frames=3):
    return noise(batch, frames, SHAPE.tokens, SHAPE.width)


@pytest.mark.parametrize("joint", [True, False])
def test_shapes_and_sums(joint):
    model, frames = small_vol(joint=joint), 3 if joint else 1
    found = model(clips(frames=frames), GRID)
    assert found.slots.shape == (2, 4, 8) and found.reconstruction.shape == (2, frames, 12, 6)
    for part in (found.masks, found.attention):
        assert part.shape == (2, frames, 4, 12)
        assert torch.allclose(part.sum(2), torch.ones(2, frames, 12), atol=1e-5)


@pytest.mark.parametrize("joint", [True, False])
def test_a_training_step(joint):
    """The loss is that of the reconstruction, and every weight learns from it."""
    model, tokens = small_vol(joint=joint).train(), clips()
    batch = Batch({("base", "tokens"): tokens}, torch.ones(2, 3, dtype=torch.bool), SHAPE)
    found = model.training_step(batch, Progress(0, 1, 0, 1), torch.Generator().manual_seed(3))
    found["loss"].backward()
    assert {name for name, p in model.named_parameters() if p.grad is None} == set()
    again = model(clips_of(tokens, model.frames), GRID, draws=torch.Generator().manual_seed(3))
    assert torch.allclose(
        found["loss"], (again.reconstruction.reshape(tokens.shape) - tokens).square().mean()
    )
    assert 1 <= found["slots"] <= 4


def test_joint_slots_see_all_frames_and_other_clips_do_not_matter():
    model, tokens, start = small_vol(), clips(), noise(2, 4, 8, seed=1)
    changed = tokens.clone()
    changed[0, 2] = noise(SHAPE.tokens, SHAPE.width, seed=2)
    before, after = model(tokens, GRID, start), model(changed, GRID, start)
    assert not torch.allclose(before.slots[0], after.slots[0])
    assert not torch.equal(before.masks[0, 0], after.masks[0, 0]), "frame 0 has the slots of frame 2"
    assert torch.allclose(before.masks[1], after.masks[1], atol=1e-6)


def test_per_frame_is_a_clip_of_every_frame():
    tokens = clips()
    assert torch.equal(clips_of(tokens, 1)[:, 0], tokens.flatten(0, 1))
    assert torch.equal(clips_of(tokens, 3), tokens)
    assert small_vol(joint=False).decoder.position_embedding.shape == (1, 9, 8)


def test_one_model_serves_every_grid():
    model, start = small_vol(), noise(1, 4, 8, seed=1)
    found = model(noise(1, 3, 35, 6), (5, 7), start)
    assert found.masks.shape == (1, 3, 4, 35)
    assert model.state_dict().keys() == small_vol().state_dict().keys()


def test_biases_of_linear_layers_start_at_zero():
    model = small_vol()
    for name, layer in model.named_modules():
        if isinstance(layer, torch.nn.Linear) and layer.bias is not None:
            assert not layer.bias.any(), name
    assert FeatureShape(3, 4, 6) == model.shape


def agreement(start):
    """Share of pairs of tokens that share a slot if they share one of three directions, and else don't; and
    how uneven the decoder's masks are.
    """
    which = torch.arange(36) % 3
    tokens = noise(3, 32, seed=5)[which] + noise(4, 3, 36, 32, seed=6) * 0.1
    torch.manual_seed(0)
    method = VolMethod(slots=6, slot_width=32, frames=3, hidden=16, decoder=(12,), start=start)
    model = VolModel(method, FeatureShape(6, 6, 32)).eval()
    with torch.no_grad():
        found = model(tokens, (6, 6), noise(4, 6, 32))
    winner, group = found.attention.argmax(2).flatten(1), which.repeat(3)
    together = winner[:, :, None] == winner[:, None]
    return (together == (group[:, None] == group)).float().mean(), found.masks.std()


def test_the_clustering_start_finds_groups_before_any_training():
    published, clustering = agreement("published"), agreement("clustering")
    assert clustering[0] > 0.85 and clustering[0] > published[0] + 0.1
    assert clustering[1] < 0.02, "the decoder hardly says anything yet"


def test_the_target_is_centred_and_cut():
    model, tokens = small_vol(centre_features=True, target_channels=2).train(), clips() + 5
    batch = Batch({("base", "tokens"): tokens}, torch.ones(2, 3, dtype=torch.bool), SHAPE)
    draws = torch.Generator().manual_seed(3)
    loss = model.training_step(batch, Progress(0, 1, 0, 1), draws)["loss"]
    mean = tokens.mean((0, 1, 2))
    assert torch.allclose(model.centring.mean, mean, atol=1e-5)
    painted = model(tokens, GRID, draws=torch.Generator().manual_seed(3)).reconstruction
    assert painted.shape[-1] == 2
    assert torch.allclose(loss, (painted - (tokens - mean)[..., :2]).square().mean(), atol=1e-6)
    with pytest.raises(SettingsError, match="vol.target_channels=7: the features tokens have 6"):
        small_vol(target_channels=7)
