"""Border crop and resizing against the numbers of SOLV's released code."""

from __future__ import annotations

import numpy as np
from safetensors.numpy import load_file

from stages.decode.resize import RESIZERS, find_borders, prepare
from tests.outside import outside

MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


def test_solv_preprocessing():
    golden = load_file(outside("golden", "solv_preprocessing.safetensors"))
    image, second = (golden[f"in.{name}"].astype(np.uint8) for name in ("image", "second_image"))
    size = tuple(int(n) for n in golden["in.config.resized"])
    box = find_borders(image)
    assert list(box) == golden["out.borders"].tolist()
    for frame, name in ((image, "out.image"), (second, "out.second_image")):
        out = prepare(frame, image.shape[:2], box, size, RESIZERS["pil"])
        normalised = ((out / 255.0 - MEAN) / STD).transpose(2, 0, 1)
        assert np.abs(normalised - golden[name]).max() <= 1e-5
