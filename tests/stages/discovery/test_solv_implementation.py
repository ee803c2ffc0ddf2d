"""SOLV on toy videos: pieces make no difference, ends of a video are no frames, slots are linked."""

import pytest
import torch

from stages.discovery import solv_implementation
from stages.discovery.contract import Batch, FeatureShape, Progress
from stages.discovery.solv import SolvMethod
from stages.discovery.solv_implementation import Solv
from stages.merging.linking import link
from tests.stages.discovery.making_solv import SHAPE, SMALL, ToyVideo, noise, small

MERGING = {"start": "spread", "merge_threshold": 0.3}


def segment(video, **options):
    model = small(1, **{**MERGING, **options})
    with torch.no_grad():
        return Solv(model.method).segment({"solv": model}, video), model


def toy(frames=7):
    """Every frame looks different, so that every frame's slots do."""
    return ToyVideo(noise(frames, SHAPE.tokens, SHAPE.width))


def assert_sound(found, frames):
    assert found.active.shape == found.identity.shape == (frames, 4)
    assert found.slots.shape == (frames, 4, 8)
    assert found.active.any(dim=1).all()
    assert ((found.identity >= 0) == found.active).all()
    for masks in found.masks.values():
        assert masks.shape == (frames, 4, 3, 4) and masks.dtype == torch.float32
        assert (masks[~found.active] == 0).all()
        assert torch.allclose(masks.sum(1), torch.ones(frames, 3, 4), atol=1e-5)


@pytest.mark.parametrize("frames", [1, 2, 7])
@pytest.mark.parametrize("window", [1, 3, 5])
def test_shapes(frames, window):
    found, _ = segment(toy(frames), frames=window)
    assert_sound(found, frames)
    assert list(found.masks) == ["decoder", "attention"] and not found.overlapping


def test_slots_are_merged_in_some_frames_of_the_toy_video():
    """Or the tests here would show little."""
    counts = segment(toy(7))[0].active.sum(1)
    assert counts.min() < counts.max() and counts.max() > 1


@pytest.mark.parametrize("at_once", [1, 2, 3, 6])
@pytest.mark.parametrize("options", [{}, {"frames": 5, "merge": False}, {"temporal": False}])
def test_pieces_make_no_difference(monkeypatch, at_once, options):
    whole, _ = segment(toy(), **options)
    monkeypatch.setattr(solv_implementation, "_FRAMES_AT_ONCE", at_once)
    video = toy()
    pieces, model = segment(video, **options)
    longest = at_once + model.method.frames - 1
    assert len(video.reads) > 1 and all(stop - start <= longest for start, stop in video.reads)
    assert torch.equal(whole.active, pieces.active) and torch.equal(whole.identity, pieces.identity)
    for kind, masks in whole.masks.items():
        assert torch.allclose(masks, pieces.masks[kind], atol=1e-5)
    assert torch.allclose(whole.slots, pieces.slots, atol=1e-5)


@pytest.mark.parametrize("frames", [1, 2, 4])
def test_a_segmentation_is_the_model_on_every_window(frames):
    """Frames beyond an end are zeros that are not available, as in training."""
    video = toy(frames)
    found, model = segment(video)
    padded = torch.nn.functional.pad(video.read(), (0, 0, 0, 0, 1, 1))
    for t in range(frames):
        available = torch.tensor([[0 <= f < frames for f in (t - 1, t, t + 1)]])
        with torch.no_grad():
            alone = model(padded[None, t : t + 3], available)
        assert torch.equal(alone.merged.active[0], found.active[t])
        assert torch.allclose(alone.masks[0], found.masks["decoder"][t].flatten(1), atol=1e-5)
        assert torch.allclose(alone.shares[0], found.masks["attention"][t].flatten(1), atol=1e-5)
        assert torch.allclose(alone.merged.slots[0], found.slots[t], atol=1e-5)


def test_merged_slots_are_linked():
    found, _ = segment(toy())
    expected = link([slots[alive].numpy() for slots, alive in zip(found.slots, found.active, strict=True)])
    for identity, alive, labels in zip(found.identity, found.active, expected, strict=True):
        assert identity[alive].tolist() == labels.tolist()


def test_without_merging_the_slot_is_the_tube_unless_asked_otherwise():
    plain, _ = segment(toy(), merge=False)
    assert plain.active.all() and (plain.identity == torch.arange(4)).all()
    matched, _ = segment(toy(), merge=False, always_match=True)
    assert torch.equal(plain.masks["decoder"], matched.masks["decoder"])
    expected = link(list(matched.slots.numpy()))
    assert all(
        row.tolist() == labels.tolist() for row, labels in zip(matched.identity, expected, strict=True)
    )


def test_the_masks_asked_for_come_first_and_the_facet_is_read():
    video = ToyVideo(noise(3, SHAPE.tokens, SHAPE.width), facet="keys")
    found, _ = segment(video, masks="attention", facet="keys")
    assert list(found.masks) == ["attention", "decoder"]


def test_a_still_video_keeps_its_tubes():
    still, _ = segment(ToyVideo(noise(1, SHAPE.tokens, SHAPE.width).expand(6, -1, -1)), temporal=False)
    assert (still.identity == still.identity[:1]).all() and (still.active == still.active[:1]).all()


def test_a_short_training_learns_a_video():
    """Adam without decay, as the method makes it, on a frame that stands still."""
    model = small(dropout=0.0, merge=False, token_drop="none").train()
    made, clip = Solv(model.method), noise(1, 1, SHAPE.tokens, SHAPE.width).expand(-1, 3, -1, -1)
    optimiser = made.optimiser("solv", model, 1e-2)
    assert {group["weight_decay"] for group in optimiser.param_groups} == {0}
    batch = Batch({("base", "tokens"): clip}, torch.ones(1, 3, dtype=torch.bool), SHAPE)
    losses = []
    for step in range(150):
        optimiser.zero_grad()
        found = model.training_step(batch, Progress(step, 150, 0, 1), torch.Generator())
        found["loss"].backward()
        optimiser.step()
        losses.append(found["loss"].item())
    assert losses[-1] < 0.1 * losses[0]


def test_all_but_the_decoder_may_learn_more_slowly():
    model = small(encoder_rate=0.25)
    optimiser = Solv(model.method).optimiser("solv", model, 1e-2)
    rates = {parameter: group["lr"] for group in optimiser.param_groups for parameter in group["params"]}
    wanted = {
        name: 1e-2 if name.startswith("decoder.") else 2.5e-3
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    }
    assert {name: rates[parameter] for name, parameter in model.named_parameters()} == wanted


def test_a_fresh_model_and_its_schedule():
    made = SolvMethod(**SMALL).implement()
    model = made.model("solv", FeatureShape(2, 3, 5), {})
    assert model.decoder.position_embedding.shape == (1, 6, 8)
    assert made.schedule("solv", 0, 1000) == 1e-5 and made.schedule("solv", 50, 1000) == 1
