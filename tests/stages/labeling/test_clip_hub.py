from pathlib import Path

import pytest
import torch.hub

from stages.errors import SettingsError
from stages.labeling import clip_hub
from stages.labeling.clip_hub import release_file
from stages.labeling.clip_spec import ClipSpec

REPOSITORY = "timm/vit_base_patch16_clip_224.openai"


def test_unknown_release_is_refused_with_those_there_are():
    with pytest.raises(SettingsError, match="label.pretrained='opnai'.*openai, laion400m_e31"):
        release_file(ClipSpec(pretrained="opnai"))


def test_fetched_once_and_told_where_to_put(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "none"))
    asked = []

    def refuse(url, target):
        asked.append(url)
        raise OSError("no network")

    monkeypatch.setattr(clip_hub, "download", refuse)
    with pytest.raises(SettingsError, match=r"can't be fetched \(no network\).*label.weights=PATH") as caught:
        release_file(ClipSpec(revision="abc"))
    assert asked == [f"https://huggingface.co/{REPOSITORY}/resolve/abc/open_clip_model.safetensors"]
    target = Path(str(caught.value).split(" at ")[1].split(", or ")[0])
    target.parent.mkdir(parents=True)
    target.write_bytes(b"weights")
    assert release_file(ClipSpec(revision="abc")) == target and len(asked) == 1


def test_huggingfaces_cache_is_used(tmp_path, monkeypatch):
    kept = tmp_path / "open_clip_model.safetensors"
    monkeypatch.setattr(clip_hub, "try_to_load_from_cache", lambda *_, **__: str(kept))
    assert release_file(ClipSpec()) == kept
