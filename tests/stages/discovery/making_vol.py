"""Small models of VOL and DINOSAUR."""

from __future__ import annotations

import torch

from stages.discovery.dinosaur import DinosaurMethod
from stages.discovery.dinosaur_model import DinosaurModel
from stages.discovery.vol import VolMethod
from stages.discovery.vol_model import VolModel
from tests.stages.discovery.making_solv import SHAPE

SMALL = {"slots": 4, "slot_width": 8, "hidden": 16, "decoder": (12, 12), "warmup": 0}


def small_vol(weights: int = 0, **options: object) -> VolModel:
    """A model in eval mode with weights that are always the same; clips of 3 frames."""
    torch.manual_seed(weights)
    return VolModel(VolMethod(**{**SMALL, "frames": 3, "position_grid": 3, **options}), SHAPE).eval()


def small_dinosaur(weights: int = 0, **options: object) -> DinosaurModel:
    """A model in eval mode with weights that are always the same."""
    torch.manual_seed(weights)
    return DinosaurModel(DinosaurMethod(**{**SMALL, "heads": 2, "layers": 2, **options}), SHAPE).eval()
