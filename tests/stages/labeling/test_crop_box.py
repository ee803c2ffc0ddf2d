import numpy as np
import pytest
import torch

from stages.errors import SettingsError
from stages.labeling.crop_box import crop, crop_embeddings, in_frame, tight_box


def test_tight_boxes():
    mask = np.zeros((5, 7), bool)
    assert tight_box(mask) is None
    mask[2, 4] = True
    assert tight_box(mask) == (4, 2, 5, 3)
    mask[4, 1] = True
    assert tight_box(mask) == (1, 2, 5, 5)


def test_boxes_in_pixels():
    assert in_frame((4, 2, 5, 3), (5, 7), (5, 7)) == (4, 2, 5, 3)
    # A patch grid of 2 x 3 over 32 x 48 pixels.
    assert in_frame((1, 0, 2, 2), (2, 3), (32, 48)) == (16, 0, 32, 32)
    # A fifth of 10 pixels is 2 at each side, up to the border.
    assert in_frame((10, 20, 20, 30), (64, 64), (64, 64), 0.2) == (8, 18, 22, 32)
    assert in_frame((0, 60, 10, 64), (64, 64), (64, 64), 0.5) == (0, 58, 15, 64)
    # Masks finer than the frame still give a pixel.
    assert in_frame((63, 63, 64, 64), (64, 64), (4, 4)) == (3, 3, 4, 4)


def test_a_crop_is_stretched():
    frame = torch.zeros(3, 40, 100, dtype=torch.uint8)
    frame[0, 10:20, 50:90] = 255
    red = torch.tensor([1.0, 0, 0]).view(3, 1, 1).expand(3, 8, 8)
    torch.testing.assert_close(crop(frame, (50, 10, 90, 20), (8, 8)), red)
    half = crop(frame, (50, 0, 90, 20), (8, 8))[0]
    assert half[:3].max() < 0.1 and half[5:].min() > 0.9
    frame[:, 3, 4] = torch.tensor([51, 102, 204], dtype=torch.uint8)
    pixel = crop(frame, (4, 3, 5, 4), (6, 6))
    torch.testing.assert_close(pixel, torch.tensor([0.2, 0.4, 0.8]).view(3, 1, 1).expand(3, 6, 6))
    extreme = crop(frame, (0, 12, 100, 13), (8, 8))
    assert torch.equal(extreme[0, 0], extreme[0, -1]) and extreme[0, 0, -1] > extreme[0, 0, 0]


def mean_colour(images):
    """Stands in for an image encoder: colours as embeddings, of other lengths than 1."""
    return 7 * images.mean(dim=(2, 3))


@pytest.mark.parametrize("batch", [1, 2, 64])
def test_embeddings_are_averaged_over_frames(batch):
    frames = np.zeros((3, 8, 8, 3), np.uint8)
    frames[0, :4, :4, 0] = 255
    frames[2, 4:, 4:, 1] = 51  # dim, but of length 1 in the average
    masks = np.zeros((3, 3, 2, 2), bool)
    masks[0, 0, 0, 0] = masks[0, 2, 1, 1] = masks[2, 0, 0, 0] = True
    found, seen = crop_embeddings(mean_colour, frames, masks, (4, 4), 3, batch=batch)
    torch.testing.assert_close(found, torch.tensor([[0.5, 0.5, 0], [0, 0, 0], [1, 0, 0]]))
    assert seen.tolist() == [[True, False, True], [False] * 3, [True, False, False]]


def test_no_mask_and_no_pixel():
    frames = np.zeros((1, 8, 8, 3), np.uint8)
    for count in (0, 2):
        found, seen = crop_embeddings(mean_colour, frames, np.zeros((count, 1, 8, 8), bool), (4, 4), 3)
        assert found.shape == (count, 3) and not found.any() and not seen.any()


def test_negative_margin():
    with pytest.raises(SettingsError, match="label.margin=-0.1"):
        crop_embeddings(
            mean_colour, np.zeros((1, 8, 8, 3), np.uint8), np.zeros((1, 1, 8, 8), bool), (4, 4), 3, -0.1
        )


def test_with_a_clip(tiny):
    """The real encoder: a mask of the whole frame is the frame's own embedding."""
    frame = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3), dtype=np.uint8)
    found, _ = crop_embeddings(
        tiny.image_embedding, frame, np.ones((1, 1, 4, 4), bool), tiny.size, tiny.width
    )
    image = torch.from_numpy(frame).permute(0, 3, 1, 2).float() / 255
    torch.testing.assert_close(found, tiny.image_embedding(image))
