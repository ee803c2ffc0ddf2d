"""CLIP's tower as a backbone: what is stored is what the tower gives."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from stages.errors import SettingsError
from stages.features.backbone_spec import BackboneSpec, describe
from stages.features.backbones.base import build
from stages.features.stage import FeaturesStage
from stages.labeling.clip_backbone_spec import ClipBackboneSpec
from stages.labeling.clip_patches import PatchTower
from stages.labeling.clip_spec import ClipSpec
from tests.outside import PROJECT

FACETS = ("penultimate", "penultimate_cls", "embedding")


@pytest.fixture
def spec(tiny_folder):
    return ClipBackboneSpec.of(BackboneSpec(name="clip", facets=FACETS), ClipSpec(model=str(tiny_folder)))


def test_facets_are_the_towers(spec, tiny):
    rgb = np.random.default_rng(0).integers(0, 256, (2, 32, 48, 3), dtype=np.uint8)
    backbone = build(spec)
    found = backbone.extract(rgb)
    images = tiny.normalise(torch.from_numpy(rgb).permute(0, 3, 1, 2).float() / 255)
    expected = PatchTower(tiny.visual)(images)
    for facet, values in zip(
        FACETS, (expected.penultimate[:, 1:], expected.penultimate[:, 0], expected.image), strict=True
    ):
        np.testing.assert_allclose(found[facet], values.half().numpy(), atol=2e-3)
    assert backbone.grid(32, 48) == (4, 6) and len(backbone.weights_digest) == 64


def test_sizes_are_known_before_it_is_loaded(spec):
    known = describe(spec)
    shapes = [known.shape(facet, 32, 48) for facet in FACETS]
    assert shapes == [(24, 32), (32,), (24,)] and (known.patch, known.default_size) == (8, 32)
    assert known.grid(32, 48) == (4, 6)


def test_identity_is_the_models_and_not_its_place(spec, tiny_folder, tmp_path):
    moved = tmp_path / "moved"
    moved.mkdir()
    for path in tiny_folder.iterdir():
        (moved / path.name).write_bytes(path.read_bytes())
    stage = FeaturesStage(backbone=spec)
    same = replace(spec, clip=ClipSpec(model=str(moved)), layer=3, seed=5, statistics="half")
    assert FeaturesStage(backbone=same).fingerprint() == stage.fingerprint()
    random = replace(spec, clip=ClipSpec(model=str(tiny_folder), weights="random"))
    other = {"facets": ("embedding",)}, {"clip": random.clip}, {"batch": 3}
    prints = {FeaturesStage(backbone=replace(spec, **change)).fingerprint() for change in other}
    assert len(prints | {stage.fingerprint()}) == 4
    assert stage.name == "clip"


def test_what_it_can_not_do():
    with pytest.raises(SettingsError, match=r"RN50 has no patch features"):
        ClipBackboneSpec(name="clip", facets=FACETS, clip=ClipSpec(model="RN50"))
    with pytest.raises(SettingsError, match=r"backbone clip has no facet tokens.*penultimate"):
        BackboneSpec(name="clip")
    with pytest.raises(SettingsError, match=r"views.masked"):
        from stages.features.views import ViewsSpec

        FeaturesStage(ClipBackboneSpec(name="clip", facets=FACETS), views=ViewsSpec(masked=1))


def test_plans_of_it_are_light():
    code = (
        "import sys; from configs.compose import compose; from pipelines.builders import BUILDERS;"
        "c = compose('adapt_patch_clip', assignments=['data.root=/x']);"
        "[BUILDERS[n](c).fingerprint() for n in ('features', 'branch', 'clip')];"
        "print([m for m in ('torch', 'open_clip', 'torchvision') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=PROJECT, check=True
    )
    assert done.stdout.strip() == "[]"
