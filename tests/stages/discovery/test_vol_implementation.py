"""VOL on toy videos: clips are grouped as the model does, from one draw, and a training learns."""

import pytest
import torch

from stages.discovery.contract import Batch, Progress
from stages.discovery.vol_implementation import Vol, one_draw
from tests.stages.discovery.making_solv import SHAPE, ToyVideo, noise
from tests.stages.discovery.making_vol import small_vol

GRID = (SHAPE.rows, SHAPE.columns)


def toy(frames):
    return ToyVideo(noise(frames, SHAPE.tokens, SHAPE.width))


def segment(video, **options):
    model = small_vol(1, **options)
    with torch.no_grad():
        return Vol(model.method).segment({"vol": model}, video), model


@pytest.mark.parametrize("joint", [True, False])
@pytest.mark.parametrize("frames", [1, 3, 7])
def test_a_segmentation_is_the_model_on_every_clip(joint, frames):
    found, model = segment(toy(frames), joint=joint)
    tokens = toy(frames).read()
    tokens = torch.cat([tokens, tokens[-1:].expand(-frames % model.frames, -1, -1)])
    start = one_draw(287, 4, 8)
    for number, clip in enumerate(tokens.split(model.frames)):
        with torch.no_grad():
            alone = model(clip[None], GRID, start)
        for t, masks in enumerate(alone.masks[0]):
            place = number * model.frames + t
            if place < frames:
                alive = found.active[place]
                assert torch.allclose(
                    found.masks["decoder"][place].flatten(1)[alive], masks[alive], atol=1e-5
                )
                assert torch.allclose(found.slots[place], alone.slots[0], atol=1e-5)


def test_the_seed_and_no_other_chance_decides():
    first, _ = segment(toy(5))
    torch.manual_seed(99)
    again, _ = segment(toy(5))
    other, _ = segment(toy(5), seed=1)
    assert torch.equal(first.slots, again.slots) and torch.equal(first.identity, again.identity)
    assert not torch.equal(first.slots, other.slots)


def test_a_still_video_keeps_its_tubes_where_linked():
    still = ToyVideo(noise(1, SHAPE.tokens, SHAPE.width).expand(9, -1, -1))
    found, _ = segment(still, joint=False, link_threshold=0.9)
    assert (found.identity == found.identity[:1]).all()
    found, _ = segment(still, joint=False, link_threshold=0)
    tubes = found.identity[found.active]
    assert len(set(tubes.tolist())) == len(tubes), "unlinked, every frame's tubes are its own"


def test_a_short_training_learns_a_clip():
    model = small_vol().train()
    made, clip = Vol(model.method), noise(1, 3, SHAPE.tokens, SHAPE.width)
    optimiser = made.optimiser("vol", model, 1e-2)
    assert isinstance(optimiser, torch.optim.Adam) and optimiser.defaults["weight_decay"] == 0
    batch = Batch({("base", "tokens"): clip}, torch.ones(1, 3, dtype=torch.bool), SHAPE)
    losses, draws = [], torch.Generator().manual_seed(0)
    for step in range(150):
        optimiser.zero_grad()
        found = model.training_step(batch, Progress(step, 150, 0, 1), draws)
        found["loss"].backward()
        optimiser.step()
        losses.append(found["loss"].item())
    assert losses[-1] < 0.5 * losses[0]


def test_slot_attentions_masks_where_asked_for():
    found, _ = segment(toy(3), masks="attention")
    assert list(found.masks) == ["attention"]
    plain, _ = segment(toy(3))
    assert not torch.allclose(found.masks["attention"], plain.masks["decoder"])
