import json
import subprocess
import sys

import pytest

from stages.errors import SettingsError
from stages.labeling.clip_spec import CONFIG_NAME, WEIGHTS_NAME, ClipSpec, known_models
from tests.outside import PROJECT


def test_released_models_by_name():
    spec = ClipSpec()
    assert spec.config()["embed_dim"] == 512 and not spec.is_own
    assert spec.weights_file() is None and spec.warning() is None
    assert spec.identity()["weights"] == "hub:ViT-B-16/openai@main"
    assert spec.identity() != ClipSpec(pretrained="laion400m_e32").identity()
    assert {"ViT-B-16", "RN50", "ViT-L-14"} <= set(known_models())


def test_it_is_light():
    code = (
        "import sys, stages.labeling.clip_spec as c; c.ClipSpec().identity(); print('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=PROJECT, check=True
    )
    assert done.stdout.strip() == "False"


def test_what_moves_keeps_its_identity(tiny_folder, tmp_path):
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for name in (CONFIG_NAME, WEIGHTS_NAME):
        (moved / name).write_bytes((tiny_folder / name).read_bytes())
    there, here = ClipSpec(model=str(moved)), ClipSpec(model=str(tiny_folder))
    assert there.identity() == here.identity()
    assert here.identity()["weights"].startswith("sha256:")
    content = json.loads((moved / CONFIG_NAME).read_text())
    content["preprocess_cfg"]["mean"] = [0.5, 0.5, 0.5]
    (moved / CONFIG_NAME).write_text(json.dumps(content))
    assert there.identity()["model"] != here.identity()["model"]


def test_random_weights_are_loudly_nothing(tiny_json):
    spec = ClipSpec(model=str(tiny_json), weights="random", seed=4)
    assert spec.weights_identity() == "random:4"
    assert spec.warning().startswith("THE NAMES MEAN NOTHING: label.weights=random")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"model": " "}, "label.model is empty"),
        ({"model": "ViT-B16"}, "near it: ViT-B-16"),
        ({"model": "nowhere/model.json"}, "there is no such file"),
        ({"weights": "nowhere.pt"}, "label.weights=nowhere.pt"),
        ({"seed": -1}, "label.seed=-1"),
    ],
)
def test_mistakes_are_named(fields, said):
    with pytest.raises(SettingsError, match=said):
        ClipSpec(**fields)


def test_configurations_that_are_none(tmp_path, tiny_json):
    broken = tmp_path / "broken.json"
    for text, said in (
        ("{", "can't be read as JSON"),
        ("[]", "no JSON object"),
        ("{}", "embed_dim, vision_cfg"),
    ):
        broken.write_text(text)
        with pytest.raises(SettingsError, match=said):
            ClipSpec(model=str(broken), weights="random")
    with pytest.raises(SettingsError, match=f"folder without {CONFIG_NAME}"):
        ClipSpec(model=str(tmp_path))
    with pytest.raises(SettingsError, match="nothing is released"):
        ClipSpec(model=str(tiny_json))


@pytest.mark.parametrize("model", ["RN50", "ViT-B-16-SigLIP", "coca_ViT-B-32"])
def test_models_without_patches_are_refused_before_loading(model):
    spec = ClipSpec(model=model, weights="random")
    with pytest.raises(SettingsError, match="has no patch features.*name crops instead"):
        spec.check_patches()
    ClipSpec().check_patches()
