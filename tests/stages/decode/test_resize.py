from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from stages.decode.resize import RESIZERS, crop, find_borders, prepare, resize_torch

SIZES = [(36, 60, 24, 50), (36, 60, 80, 130), (37, 53, 37, 20), (1, 1, 14, 14), (2, 2, 5, 3), (90, 160, 7, 5)]


def picture(height, width):
    return np.random.default_rng(1).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize(("h", "w", "oh", "ow"), SIZES)
def test_torch_is_torch(h, w, oh, ow):
    rgb = picture(h, w)
    tensor = torch.from_numpy(rgb).permute(2, 0, 1)[None].float()
    expected = torch.nn.functional.interpolate(tensor, (oh, ow), mode="bilinear", align_corners=False)
    ours = torch.from_numpy(resize_torch(rgb, oh, ow)).permute(2, 0, 1)[None].float()
    assert (ours - expected).abs().max() <= 0.5 + 1e-3


@pytest.mark.parametrize(("h", "w", "oh", "ow"), SIZES)
def test_cv2_is_torch_up_to_rounding(h, w, oh, ow):
    pytest.importorskip("cv2", reason="needs opencv-python-headless")
    rgb = picture(h, w)
    ours, theirs = RESIZERS["torch"](rgb, oh, ow), RESIZERS["cv2"](rgb, oh, ow)
    assert np.abs(ours.astype(int) - theirs).max() <= 1


@pytest.mark.parametrize(("h", "w", "oh", "ow"), SIZES)
def test_pil_is_torchvision_on_pil(h, w, oh, ow):
    transforms = pytest.importorskip("torchvision.transforms", reason="needs torchvision")
    rgb = picture(h, w)
    expected = transforms.Resize((oh, ow))(Image.fromarray(rgb))
    assert np.array_equal(RESIZERS["pil"](rgb, oh, ow), np.asarray(expected))


@pytest.mark.parametrize("name", sorted(RESIZERS))
def test_every_resizer_keeps_a_plain_colour_and_the_order_of_axes(name):
    rgb = np.zeros((20, 40, 3), np.uint8)
    rgb[..., 0], rgb[..., 2] = 200, 30
    out = RESIZERS[name](rgb, 28, 14)
    assert out.shape == (28, 14, 3) and out.dtype == np.uint8
    assert np.abs(out.astype(int) - [200, 0, 30]).max() <= 1


def test_borders():
    rgb = picture(20, 30) // 2 + 100
    rgb[:3] = 0
    rgb[-1:] = 0
    rgb[:, :5] = 0
    rgb[0, 0] = 9  # a speck whose row and column still have means below 1
    assert find_borders(rgb) == (3, 1, 5, 0)
    assert crop(rgb, (3, 1, 5, 0)).shape == (16, 25, 3)


def test_an_all_black_frame_is_not_cropped():
    assert find_borders(np.zeros((9, 9, 3), np.uint8)) == (0, 0, 0, 0)


def test_a_picture_of_another_size_is_stretched_before_the_crop():
    small = np.full((10, 10, 3), 90, np.uint8)
    assert prepare(small, (20, 20), (2, 2, 4, 4), (8, 6), RESIZERS["pil"]).shape == (8, 6, 3)
