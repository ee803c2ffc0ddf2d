"""SOLV's model as a whole, on noise and on windows whose answer is known."""

import math

import pytest
import torch

from stages.discovery.contract import Batch, FeatureShape, Progress
from stages.discovery.solv_model import SolvModel
from stages.discovery.tokens import choose_kept
from stages.errors import SettingsError
from tests.stages.discovery.making_solv import SHAPE, noise, small

ABLATIONS = {
    "A": {"invariant": False, "temporal": False, "merge": False},
    "B": {"invariant": False, "temporal": False},
    "C": {"invariant": False},
    "D": {"temporal": False},
    "E": {},
}
LAST = Progress(9, 10, 9, 10)


def there(size=2):
    return torch.ones(size, 3, dtype=torch.bool)


def batch(size=2):
    return Batch({("base", "tokens"): noise(size, 3, SHAPE.tokens, SHAPE.width)}, there(size), SHAPE)


def draws(seed=0):
    return torch.Generator().manual_seed(seed)


def equal_slots(**options) -> SolvModel:
    model = small(merge_threshold=0.12, **options)
    with torch.no_grad():
        for start in (model.slot_attention.initial.vectors, model.slot_attention.initial_positions):
            start[:] = start[:, :1].clone()
        model.slot_attention.initial_scales.fill_(0.5)
    return model


@pytest.mark.parametrize("options", ABLATIONS.values(), ids=ABLATIONS)
def test_every_ablation_segments_and_trains(options):
    model = small(**options)
    found = model(batch().tokens, there())
    assert found.reconstruction.shape == (2, 12, 6) and found.masks.shape == (2, 4, 12)
    for part in (found.masks, found.shares):
        assert torch.allclose(part.sum(1), torch.ones(2, 12), atol=1e-6)
        assert (part[~found.merged.active] == 0).all()
    assert torch.allclose(found.merged.attention.sum(2), torch.ones(2, 4), atol=1e-6)
    model.train().training_step(batch(), LAST, draws())["loss"].backward()
    assert {name for name, p in model.named_parameters() if p.grad is None} == set()


def test_equal_slots_merge_unless_too_few_are_left():
    found = equal_slots(min_clusters=1)(batch().tokens, there())
    assert found.merged.count.tolist() == [1, 1] and (found.masks[:, 1:] == 0).all()
    assert torch.allclose(found.masks[:, 0], torch.ones(2, 12))
    found = equal_slots(min_clusters=3)(batch().tokens, there())
    assert found.merged.count.tolist() == [4, 4]
    assert torch.allclose(found.masks, torch.full((2, 4, 12), 0.25), atol=1e-5)


@pytest.mark.parametrize("epoch", [0, 4, 9])
def test_merging_sets_in_logarithmically(epoch):
    """ln(e + 1) / ln(E) of the samples: none in the first epoch, all in the last."""
    model = equal_slots(min_clusters=1, temporal=False, invariant=True)
    expected = math.log(epoch + 1) / math.log(10)
    slots = model.training_step(batch(800), Progress(0, 1, epoch, 10), draws())["slots"].item()
    merged = (4 - slots) / 3
    assert abs(merged - expected) < (0.07 if epoch == 4 else 1e-6)  # four standard deviations


def test_a_training_of_one_epoch_merges():
    model = equal_slots(min_clusters=1)
    assert model.training_step(batch(), Progress(0, 1, 0, 1), draws())["slots"] == 1


def test_missing_frames_have_no_influence_and_others_do():
    model, tokens = small(merge=False), batch(1).tokens
    available, changed = torch.tensor([[False, True, True]]), tokens.clone()
    changed[:, 0] = 7
    assert torch.allclose(model(tokens, available).masks, model(changed, available).masks, atol=1e-6)
    assert not torch.allclose(model(tokens, there(1)).masks, model(changed, there(1)).masks, atol=1e-6)


def test_without_temporal_binding_the_centre_stands_alone():
    model, tokens = small(temporal=False, merge=False), batch(1).tokens
    changed = tokens.clone()
    changed[:, [0, 2]] = 7
    assert torch.equal(model(tokens, there(1)).masks, model(changed, there(1)).masks)


def test_draws_decide_about_a_step():
    model = small()
    first, again, other = (
        model.training_step(batch(), LAST, draws(seed))["loss"].item() for seed in (1, 1, 2)
    )
    assert first == again != other


def test_the_loss_is_the_centre_frames_squared_error():
    model = small(token_drop="none")
    given = batch()
    expected = (model(given.tokens, there()).reconstruction - given.tokens[:, 1]).square().mean()
    assert torch.allclose(model.training_step(given, LAST, draws())["loss"], expected)


@pytest.mark.parametrize("ratio", [0.0, 0.5])
def test_the_released_index_only_matters_where_tokens_are_dropped(ratio):
    tokens = batch().tokens
    kept = choose_kept((2, 3, 12), ratio, draws())
    given = tokens.gather(2, kept[..., None].expand(-1, -1, -1, 6))
    fixed, released = (
        small(merge=False, relgrid_index_bug=bug)(given, there(), kept) for bug in (False, True)
    )
    assert torch.equal(fixed.merged.slots, released.merged.slots)
    assert torch.equal(fixed.masks, released.masks) == (ratio == 0)


def test_positions_kept_in_other_frames_do_not_place_the_centre_frames_slots():
    model, kept = small(temporal=False, merge=False), choose_kept((2, 3, 12), 0.5, draws())
    tokens, other = noise(2, 3, 6, 6), kept.clone()
    other[:, [0, 2]] = choose_kept((2, 2, 12), 0.5, draws(1))
    assert torch.equal(model(tokens, there(), kept).masks, model(tokens, there(), other).masks)
    other[:, 1] = other[:, 0]
    assert not torch.equal(model(tokens, there(), kept).masks, model(tokens, there(), other).masks)


def test_the_released_index_is_wrong_mainly_in_x():
    """Kept positions ascend, so the n-th of any frame lies in about the same row."""
    model = small(shape=FeatureShape(14, 14, 6))
    kept = choose_kept((8, 3, 196), 0.5, draws())
    model.method = small(relgrid_index_bug=True).method
    wrong = model.slot_attention.grid_of(model._grid_rows(kept))
    right = model.slot_attention.grid_of(kept[:, 1])
    x, y = (wrong - right).abs().mean((0, 1)).tolist()
    assert x > 4 * y > 0


def test_targets():
    given = batch()
    centre = given.tokens[:, 1]
    assert torch.equal(small()._target(centre), centre)
    assert torch.equal(small(target_channels=2)._target(centre), centre[..., :2])
    normed = small(target_norm=True)._target(5 * centre + 3)
    assert torch.allclose(normed.mean(-1), torch.zeros(2, 12), atol=1e-6)
    assert torch.allclose(normed, small(target_norm=True)._target(centre), atol=0.01)
    found = small(target_channels=2)(given.tokens, there())
    assert found.reconstruction.shape == (2, 12, 2)


def test_centred_features_forget_what_all_share():
    given = batch()
    shifted = Batch({("base", "tokens"): given.tokens + 100}, given.available, SHAPE)
    losses = []
    for each in (given, shifted):
        model = small(centre_features=True, token_drop="none", dropout=0.0)
        losses.append(model.training_step(each, LAST, draws())["loss"].item())
        assert torch.allclose(model.centring.mean, each.tokens.mean((0, 1, 2)), atol=1e-4)
    assert math.isclose(*losses, rel_tol=1e-3)


def test_premasked_steps_read_the_stored_versions():
    kept = choose_kept((2, 3, 12), 0.5, draws())
    stored = {("mask0", "kept"): kept[..., None].float(), ("mask1", "kept"): kept[..., None].float()}
    tokens = batch().tokens.gather(2, kept[..., None].expand(-1, -1, -1, 6))
    stored |= {("mask0", "tokens"): tokens, ("mask1", "tokens"): tokens}
    model = small(token_drop="premasked", versions=2)
    given = Batch({**batch().features, **stored}, there(), SHAPE)
    loss = model.training_step(given, LAST, draws())["loss"]
    expected = (model(tokens, there(), kept).reconstruction - given.tokens[:, 1]).square().mean()
    assert torch.allclose(loss, expected)


def test_online_steps_encode_what_is_kept():
    pixels = noise(2, 3, 12, 3)
    given = Batch({**batch().features, ("base", "pixels"): pixels}, there(), SHAPE)
    model = small(token_drop="online")
    with pytest.raises(SettingsError, match="token_drop=online"):
        model.training_step(given, LAST, draws())
    seen = []

    def encoder(frames, kept):
        seen.append((frames, kept))
        return noise(*kept.shape, 6)

    model.encoder = encoder
    model.training_step(given, LAST, draws())["loss"].backward()
    assert torch.equal(seen[0][0], pixels.flatten(0, 1)) and seen[0][1].shape == (6, 6)


def test_tokens_that_are_no_numbers_give_a_loss_that_is_none():
    """The training loop names the step and the videos of such a loss; merging must not fail before."""
    given = batch()
    given.tokens[0, 1, 3] = math.nan
    assert small().training_step(given, LAST, draws())["loss"].isnan()


def test_a_spread_start():
    model = small(start="spread")
    weights = model.slot_attention.to_q.weight
    assert torch.equal(weights, model.slot_attention.to_k.weight)
    assert torch.allclose(weights @ weights.T, torch.eye(8), atol=1e-5)


@pytest.mark.parametrize("invariant", [False, True])
def test_a_clustering_start_lets_the_video_into_the_slots(invariant: bool) -> None:
    """Share of the slots' variance that comes from the video, in a fresh model."""

    def share(start: str) -> float:
        model = small(0, SHAPE, start=start, invariant=invariant)
        tokens = noise(32, 1, SHAPE.tokens, SHAPE.width, seed=1)
        with torch.no_grad():
            slots = model.bind(tokens).slots[:, 0]
        return float(slots.var(dim=0).mean() / slots.flatten(0, 1).var(dim=0).mean())

    assert share("clustering") > 3 * share("spread")


@pytest.mark.parametrize("options", [{}, {"invariant": False}, {"temporal": False}])
def test_a_clustering_start_paints_next_to_nothing(options: dict[str, bool]) -> None:
    """So that its first gradients, which are noise, don't move what the slots say."""
    model = small(0, SHAPE, start="clustering", merge=False, **options)
    with torch.no_grad():
        found = model(noise(4, 3, SHAPE.tokens, SHAPE.width), torch.ones(4, 3, dtype=torch.bool))
    assert found.reconstruction.std() < 0.25
    assert (found.masks - 1 / model.method.slots).abs().mean() < 0.1
