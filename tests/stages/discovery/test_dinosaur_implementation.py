"""DINOSAUR on toy videos: every frame alone, however many are read at once."""

import pytest
import torch

from stages.discovery import dinosaur_implementation
from stages.discovery.dinosaur_implementation import Dinosaur
from stages.discovery.vol_implementation import one_draw
from tests.stages.discovery.making_solv import SHAPE, ToyVideo, noise
from tests.stages.discovery.making_vol import small_dinosaur


def segment(model, frames=5):
    with torch.no_grad():
        video = ToyVideo(noise(frames, SHAPE.tokens, SHAPE.width))
        return Dinosaur(model.method).segment({"dinosaur": model}, video)


@pytest.mark.parametrize("options", [{}, {"autoregressive": True, "masks": "attention"}])
def test_a_segmentation_is_the_model_on_every_frame(options, monkeypatch):
    model = small_dinosaur(**options)
    found = segment(model)
    assert list(found.masks) == list(model.method.mask_kinds)
    for frame, tokens in enumerate(noise(5, SHAPE.tokens, SHAPE.width)):
        with torch.no_grad():
            alone = model(tokens[None, None], one_draw(287, 4, 8))
        alive = found.active[frame]
        for kind, expected in (("decoder", alone.masks), ("attention", alone.attention)):
            masks = found.masks[kind][frame].flatten(1)
            assert torch.allclose(masks[alive], expected[0, 0, alive], atol=1e-5)
            assert (masks[~alive] == 0).all()
    monkeypatch.setattr(dinosaur_implementation, "_FRAMES_AT_ONCE", 2)
    pieces = segment(model)
    assert torch.equal(pieces.identity, found.identity)
    assert torch.allclose(pieces.slots, found.slots, atol=1e-5)


def test_tubes_last_one_frame_unless_linked():
    found = segment(small_dinosaur())
    tubes = found.identity[found.active].tolist()
    assert tubes == list(range(len(tubes)))
    assert segment(small_dinosaur(link_threshold=0.01)).identity.max() < len(tubes) - 1


def test_the_schedule_decays_when_it_is_warm():
    made = Dinosaur(small_dinosaur(warmup=10, half_life=20).method)
    assert [made.schedule("dinosaur", step, 99) for step in (0, 5, 10, 30, 50)] == [0, 0.5, 1, 0.5, 0.25]
