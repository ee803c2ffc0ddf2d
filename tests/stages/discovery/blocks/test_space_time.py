"""Position codes of clips: equal on the learned grid, resized frame by frame for others."""

import torch

from stages.discovery.blocks.decoder import BroadcastDecoder
from stages.discovery.blocks.space_time import SpaceTimeDecoder
from tests.stages.discovery.making_solv import noise

EVERY = torch.ones(2, 4, dtype=torch.bool)


def made(frames=3):
    torch.manual_seed(0)
    return SpaceTimeDecoder(6, 9, frames, [7, 5], native=4)


def test_the_learned_grid_is_taken_as_it_is():
    decoder = made()
    assert torch.equal(decoder.positions(4, 4), decoder.position_embedding.flatten(0, 1))


def test_every_frame_is_resized_alone():
    decoder = made()
    before = decoder.positions(3, 5).unflatten(0, (3, 15))
    with torch.no_grad():
        decoder.position_embedding[1] += 1
    after = decoder.positions(3, 5).unflatten(0, (3, 15))
    assert torch.allclose(after[1], before[1] + 1, atol=1e-6)
    assert torch.equal(after[[0, 2]], before[[0, 2]])


def test_rows_and_columns_are_not_mixed_up():
    """Codes that tell the row, on a wider grid, still tell the row."""
    decoder = made(1)
    rows = torch.arange(4.0).repeat_interleave(4)
    with torch.no_grad():
        decoder.position_embedding[:] = rows[:, None]
    assert torch.allclose(decoder.positions(4, 7).unflatten(0, (4, 7)), torch.arange(4.0)[:, None, None])


def test_it_paints_every_frame_as_the_decoder_of_single_frames_would():
    decoder, slots = made(), noise(2, 4, 6)
    painted, masks = decoder(slots, EVERY, positions=decoder.positions(3, 5))
    alone = BroadcastDecoder(6, 9, 15, [7, 5])
    alone.layers.load_state_dict(decoder.layers.state_dict())
    for frame, codes in enumerate(decoder.positions(3, 5).unflatten(0, (3, 15))):
        alone.position_embedding.data = codes[None]
        expected, shares = alone(slots, EVERY)
        here = slice(15 * frame, 15 * (frame + 1))
        assert torch.allclose(painted[:, here], expected, atol=1e-5)
        assert torch.allclose(masks[:, :, here], shares, atol=1e-5)
