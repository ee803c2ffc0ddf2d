"""A tiny CLIP on disk, random weights, no hub; and its parts."""

from __future__ import annotations

import json

import pytest

from stages.labeling.clip_model import build, load_clip, save_clip
from stages.labeling.clip_spec import ClipSpec

TINY = {
    "embed_dim": 24,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 32, "patch_size": 8, "width": 32, "head_width": 8, "layers": 2},
    "text_cfg": {"context_length": 12, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}


@pytest.fixture(scope="session")
def tiny_json(tmp_path_factory):
    path = tmp_path_factory.mktemp("clip") / "tiny.json"
    path.write_text(json.dumps(TINY))
    return path


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory, tiny_json):
    """The same in open_clip's layout, with weights of its own."""
    folder = tmp_path_factory.mktemp("clip") / "tiny"
    model, _ = build(ClipSpec(model=str(tiny_json), weights="random", seed=3))
    save_clip(model, TINY, folder)
    return folder


@pytest.fixture(scope="session")
def tiny(tiny_folder):
    return load_clip(ClipSpec(model=str(tiny_folder)))
