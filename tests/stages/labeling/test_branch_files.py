import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from stages.artifacts import whole
from stages.errors import SettingsError
from stages.labeling.branch_files import DESCRIPTION, WEIGHTS, describe_branch, load_branch, tower_digest
from stages.labeling.clip_model import load_clip
from stages.labeling.clip_patches import PatchTower
from stages.labeling.clip_spec import ClipSpec
from stages.labeling.patch_branch import PatchBranch
from stages.learning.checkpoint import tensors_of


@pytest.fixture(scope="module")
def tower(tiny):
    return PatchTower(tiny.visual)


@pytest.fixture(scope="module")
def branch(tower):
    torch.manual_seed(0)
    return PatchBranch.of(tower)


def save_branch(folder, branch, tower, more=None):
    save_file(tensors_of(branch), folder / WEIGHTS)
    describe_branch(folder, tower, more or {})


def test_a_branch_comes_back_as_it_was(tower, branch, tiny_folder, tmp_path):
    """From the artifact's folder and from that of its files."""
    spec = ClipSpec(model=str(tiny_folder))
    artifact = tmp_path / "branch-1"
    files = whole.produce(artifact, {"kind": "branch"}, "0" * 64, lambda f: save_branch(f, branch, tower))
    tokens = torch.randn(2, 17, 32)
    for folder in (artifact, files):
        again = load_branch(folder, tower, spec)
        torch.testing.assert_close(again(tokens), branch(tokens))
        assert not again.training and not any(p.requires_grad for p in again.parameters())


def test_of_another_tower(tower, branch, tiny_json, tmp_path):
    spec = ClipSpec(model=str(tiny_json), weights="random", seed=4)
    with pytest.warns(UserWarning, match="MEAN NOTHING"):
        other = PatchTower(load_clip(spec).visual)
    save_branch(tmp_path, branch, tower, {"model": "ViT-B-16"})
    with pytest.raises(SettingsError, match=r"trained on another CLIP \(ViT-B-16\).*adapt_patch_clip"):
        load_branch(tmp_path, other, spec)
    assert tower_digest(tower) == json.loads((tmp_path / DESCRIPTION).read_text())["tower"]


@pytest.mark.parametrize("content", [None, "no JSON", "[]"])
def test_no_branch(tower, content, tiny_folder, tmp_path):
    if content is not None:
        Path(tmp_path, DESCRIPTION).write_text(content)
    with pytest.raises(SettingsError, match=r"no finished branch|no description"):
        load_branch(tmp_path, tower, ClipSpec(model=str(tiny_folder)))
