import subprocess
import sys
from dataclasses import replace

import pytest
import timm
import torch

from stages.errors import SettingsError
from stages.features.backbone_spec import BackboneSpec, describe, fallback_size
from stages.features.backbones.table import KNOWN, known_model

VITS = [name for name, known in KNOWN.items() if known.family == "vit"]
CNNS = [name for name, known in KNOWN.items() if known.family == "cnn"]


@pytest.mark.parametrize("name", VITS)
def test_the_table_is_right_about_transformers(name):
    known = KNOWN[name]
    with torch.device("meta"):
        model = timm.create_model(known.timm, pretrained=False, num_classes=0)
    assert model.embed_dim == known.width
    assert model.patch_embed.patch_size == (known.patch, known.patch)
    assert len(model.blocks) == known.depth
    assert ("reg" in name) == (model.reg_token is not None)
    known_to_timm = timm.get_pretrained_cfg(known.timm)
    assert known_to_timm.url == known.url
    assert known_to_timm.mean == (0.485, 0.456, 0.406)


@pytest.mark.parametrize("name", CNNS)
@pytest.mark.parametrize("stage", range(5))
def test_the_table_is_right_about_feature_maps(name, stage):
    with torch.device("meta"):
        model = timm.create_model(KNOWN[name].timm, features_only=True)
    description = describe(BackboneSpec(name=name, stage=stage))
    assert description.widths == {"tokens": model.feature_info.channels()[stage]}
    assert description.patch == model.feature_info.reduction()[stage]


def test_shapes():
    description = describe(BackboneSpec(name="dinov2_vitb14", facets=("tokens", "cls")))
    assert description.grid(336, 504) == (24, 36)
    assert description.shape("tokens", 336, 504) == (864, 768)
    assert description.shape("cls", 336, 504) == (768,)
    assert describe(BackboneSpec(name="dino_resnet50", stride=8)).grid(480, 864) == (60, 108)
    assert describe(BackboneSpec(name="dino_resnet50", stride=8, stage=0)).patch == 2
    assert describe(BackboneSpec(name="vit_tiny_patch16_224")) is None


@pytest.mark.parametrize(
    ("name", "facet", "possible"),
    [
        ("dino_resnet50", "keys", ["tokens"]),
        ("patchstats", "cls", ["tokens", "rgb", "position", "texture", "flow"]),
        ("dino_vits16", "values", ["tokens", "keys", "queries", "cls"]),
        ("vit_tiny_patch16_224", "rgb", ["tokens", "keys", "queries", "cls"]),
    ],
)
def test_a_facet_that_the_model_lacks(name, facet, possible):
    with pytest.raises(ValueError, match=f"{name} has no facet {facet}") as caught:
        BackboneSpec(name=name, facets=("tokens", facet))
    assert all(word in str(caught.value).split("choose among")[1] for word in possible)


@pytest.mark.parametrize(
    "fields",
    [
        {"facets": ()},
        {"batch": 0},
        {"batch": 1},
        {"stride": 7},
        {"name": "dino_vits16", "layer": 12},
        {"name": "dino_resnet50", "stage": 5},
        {"name": "dino_resnet50", "stride": 4},
        {"name": "dino_vits16", "norm": "between"},
        {"name": "dino_vits16", "precision": "fp8"},
        {"name": "dino_vits16", "statistics": "mine"},
    ],
)
def test_settings_that_can_not_work(fields):
    with pytest.raises(SettingsError, match=r"backbone"):
        BackboneSpec(**fields)


DINO = BackboneSpec(name="dino_vits16")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (DINO, replace(DINO, layer=11)),
        (DINO, replace(DINO, name="vit_small_patch16_224.dino")),
        (DINO, replace(DINO, statistics="imagenet")),
        (DINO, replace(DINO, seed=5, stage=2, stride=8, revision="x")),
        (replace(DINO, facets=("cls", "keys")), replace(DINO, facets=("keys", "cls", "keys"))),
        (BackboneSpec(), BackboneSpec(weights="random", layer=3, precision="bf16", compile=True, stride=8)),
        (BackboneSpec(name="dino_resnet50"), BackboneSpec(name="dino_resnet50", stage=4, layer=2, stride=32)),
        (BackboneSpec(name="dino_resnet50", stage=1), BackboneSpec(name="dino_resnet50", stage=-4, stride=8)),
    ],
)
def test_the_same_said_in_two_ways(one, other):
    assert one != other
    assert one.resolved() == other.resolved()
    assert one.resolved().resolved() == one.resolved()


@pytest.mark.parametrize(
    "change",
    [
        {"name": "dino_vits8"},
        {"weights": "random"},
        {"facets": ("keys",)},
        {"layer": 5},
        {"norm": "after"},
        {"statistics": "kinetics"},
        {"precision": "bf16"},
        {"batch": 4},
        {"compile": True},
    ],
)
def test_what_changes_features_is_kept(change):
    assert replace(DINO, **change).resolved() != DINO.resolved()


def test_weights_are_known_by_their_content(tmp_path):
    first, moved, other = tmp_path / "a.pth", tmp_path / "b.pth", tmp_path / "c.pth"
    first.write_bytes(b"weights")
    moved.write_bytes(b"weights")
    other.write_bytes(b"other weights")
    identities = [replace(DINO, weights=str(path)).weights_identity() for path in (first, moved, other)]
    assert identities[0] == identities[1] != identities[2]
    first.write_bytes(b"rewritten")
    assert replace(DINO, weights=str(first)).weights_identity() != identities[0]


def test_identity_of_other_weights():
    assert replace(DINO, weights="random", seed=3).weights_identity() == "random:3"
    assert known_model("dino_vits16").url in DINO.weights_identity()
    assert BackboneSpec(name="resnet18", revision="abc").weights_identity() == "hub:timm/resnet18@abc"
    assert BackboneSpec().weights_identity() == ""


def test_a_missing_weights_file_is_named(tmp_path):
    with pytest.raises(SettingsError, match=r"absent\.pth can't be read .*backbone\.weights"):
        replace(DINO, weights=str(tmp_path / "absent.pth")).weights_identity()


def test_size_of_models_outside_of_the_table():
    assert fallback_size("vit_small_patch32_224") == (224, 32)
    assert fallback_size("vit_large_patch14_dinov2.lvd142m") == (224, 14)
    assert fallback_size("convnext_atto") == (224, 32)


def test_plans_load_no_heavy_module():
    code = (
        "import sys, stages.features.stage as s; s.FeaturesStage().fingerprint();"
        "s.FeaturesStage().estimate({'frames': 9, 'fps': 5.0, 'height': 4, 'width': 4, 'rotation': 0});"
        "heavy = ('torch', 'timm', 'ray', 'av', 'decord', 'cv2', 'torchvision');"
        "print([m for m in heavy if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
