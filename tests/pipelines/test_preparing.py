"""What a run finds out about its CLIP before the first shard."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipelines.cli import main
from stages.artifacts import whole
from stages.labeling import clip_hub, embeddings_worker
from tests.media import make_video

TOWERS = {
    "embed_dim": 24,
    "vision_cfg": {"image_size": 32, "patch_size": 8, "width": 32, "head_width": 8, "layers": 1},
    "text_cfg": {"context_length": 12, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    make_video(folder / "one.mp4", frames=2)
    return folder


def label(data: Path, store: Path, *settings: str) -> int:
    """The exit code of ``label_corpus``."""
    own = [f"data.root={data}", f"store={store}", "model=kmeans", "backbone.name=patchstats"]
    sets = [part for setting in (*own, *settings) for part in ("--set", setting)]
    return main(["label_corpus", "--runner", "local", *sets])


def test_weights_that_are_none_are_found_before_anything_is_computed(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "tiny.json").write_text(json.dumps(TOWERS))
    (tmp_path / "broken.pt").write_bytes(b"caf\xe9\n")
    chosen = [f"label.model={tmp_path / 'tiny.json'}", f"label.weights={tmp_path / 'broken.pt'}"]
    assert label(data, tmp_path / "store", *chosen, "label.vocabulary=dog") == 2
    assert "broken.pt can't be read" in capsys.readouterr().err
    assert not list((tmp_path / "store").glob("*/*/manifest/*"))


@pytest.mark.filterwarnings("ignore:THE NAMES MEAN NOTHING")
def test_a_branch_of_another_clip_is_found_before_anything_is_computed(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "tiny.json").write_text(json.dumps(TOWERS))

    def trained(folder: Path) -> None:
        (folder / "branch.json").write_text(json.dumps({"tower": "another", "model": "theirs"}))

    whole.produce(tmp_path / "branch", {"kind": "branch", "fingerprint": "f"}, "0" * 64, trained)
    chosen = [f"label.model={tmp_path / 'tiny.json'}", "label.weights=random", "label.by=patches"]
    assert label(data, tmp_path / "store", *chosen, "label.branch=~/branch", "label.vocabulary=dog") == 2
    assert "was trained on another CLIP (theirs)" in capsys.readouterr().err
    assert not list((tmp_path / "store").glob("*/*/manifest/*"))


def test_weights_that_can_not_be_fetched_are_missed_though_the_text_is_there(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(url: str, target: Path) -> None:
        raise OSError("no network")

    monkeypatch.setattr(clip_hub, "download", refuse)
    monkeypatch.setattr(clip_hub.torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setattr(embeddings_worker, "load_clip", None)
    monkeypatch.setattr("stages.labeling.named_worker.load_clip", None)
    assert label(data, tmp_path / "store", "label.vocabulary=dog") == 2
    assert "ViT-B-16/openai can't be fetched (no network)" in capsys.readouterr().err


def test_names_that_are_too_long_are_told_once(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "tiny.json").write_text(json.dumps(TOWERS))
    long = " ".join(["very"] * 20)
    chosen = [f"label.model={tmp_path / 'tiny.json'}", "label.weights=random", "label.background=none"]
    with pytest.warns(UserWarning, match="THE NAMES MEAN NOTHING"):
        assert label(data, tmp_path / "store", *chosen, f"label.vocabulary=dog,{long} dog,cat") == 0
    said = capsys.readouterr().err
    assert said.count(f"CLIP reads only the beginning of 'a photo of a {long} dog'; shorten") == 1
