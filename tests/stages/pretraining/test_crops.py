import numpy as np
import torch

from stages.pretraining.crops import crop_of, cropped

SCALES = (1.0, 0.875, 0.75, 0.66)


def test_crops_are_of_neighbouring_scales_and_reach_everywhere():
    draws = np.random.Generator(np.random.PCG64(0))
    boxes = [crop_of((64, 96), SCALES, draws) for _ in range(3000)]
    sides = {box[2:] for box in boxes}
    assert sides == {(a, b) for i, a in enumerate((64, 56, 48, 42)) for j, b in enumerate((64, 56, 48, 42))
                     if abs(i - j) <= 1}  # fmt: skip
    for top, left, rows, columns in boxes:
        assert 0 <= top <= 64 - rows and 0 <= left <= 96 - columns
    assert {left for _, left, _, columns in boxes if columns == 64} == set(range(33))


def test_a_crop_is_cut_and_resized():
    rgb = np.zeros((2, 40, 60, 3), np.uint8)
    rgb[1, 10:30, 20:40] = (10, 20, 30)
    found = cropped(rgb, (10, 20, 20, 20), 8)
    assert found.shape == (2, 8, 8, 3) and found.dtype == torch.uint8
    assert not found[0].any() and (found[1] == torch.tensor([10, 20, 30], dtype=torch.uint8)).all()
    whole = np.random.default_rng(0).integers(0, 256, (1, 8, 8, 3), np.uint8)
    assert np.array_equal(cropped(whole, (0, 0, 8, 8), 8).numpy(), whole)
