"""`label_corpus` through the command line: a folder to named tubes, and what another vocabulary costs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stages.tubes.reader import TubeStore
from stages.tubes.table import NAMED
from tests.cli import digests, run_json
from tests.media import make_corpus

CLIP = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 16, "patch_size": 8, "width": 16, "head_width": 8, "layers": 1},
    "text_cfg": {"context_length": 12, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}
KMEANS = ("model=kmeans", "kmeans={facet: rgb, clusters: 3}")


@pytest.fixture(scope="module")
def arguments(tmp_path_factory: pytest.TempPathFactory) -> list[object]:
    """All but the store and the vocabulary."""
    folder = tmp_path_factory.mktemp("naming")
    videos = make_corpus(folder / "videos", 4, frames=6)
    (videos / "broken.mp4").write_bytes(b"no video at all" * 99)
    (folder / "clip.json").write_text(json.dumps(CLIP))
    settings = (
        f"data.root={videos}", "decode.fps=all", "decode.size=[32,48]", "model=kmeans",
        "backbone={name: patchstats, stride: 8, facets: [tokens, rgb]}", "layout.shard_videos=2",
        "kmeans={facet: rgb, clusters: 3}", f"label.model={folder / 'clip.json'}", "label.weights=random",
        "label.step=2",
    )  # fmt: skip
    return ["label_corpus", *sets(*settings), "--runner", "local", "--max-failed", "50%"]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("named") / "store"


@pytest.fixture(scope="module")
def done(arguments: list[object], store: Path) -> dict[str, Any]:
    """The run with one worker."""
    return run_json(*arguments, *sets(f"store={store}", "label.vocabulary=cat,dog"))


def sets(*settings: str) -> list[str]:
    return [word for setting in settings for word in ("--set", setting)]


def todo(plan: dict[str, Any]) -> dict[str, int]:
    return {stage["kind"]: stage["todo"] for stage in plan["stages"]}


def test_tubes_are_named_and_features_gone(done: dict[str, Any]) -> None:
    named = TubeStore(done["artifacts"]["named"])
    assert len(named.videos()) == 4 and named.kinds() == (NAMED, "cluster")
    assert set(named.tubes(named.videos()[0], NAMED)["label"].to_pylist()) <= {"cat", "dog", "unnamed"}
    assert done["totals"]["catalog"]["rejected"] == 1 and done["totals"]["named"]["skipped"] == 1
    assert not list(Path(done["artifacts"]["features"], "shards").glob("*.tar")), "keep=results"
    assert Path(done["artifacts"]["report"]).is_dir() and Path(done["artifacts"]["tracks"]).is_dir()


@pytest.mark.long
def test_two_workers_leave_the_same_bytes(
    arguments: list[object], store: Path, done: dict[str, Any], tmp_path: Path
) -> None:
    words = [*arguments, *sets(f"store={tmp_path}", "label.vocabulary=cat,dog")]
    run_json(*words, "--workers", 2)
    found = digests(tmp_path)
    assert found == digests(store)
    assert any(name.startswith("named/") for name in found)


def test_another_vocabulary_costs_the_naming_alone(
    arguments: list[object], store: Path, done: dict[str, Any]
) -> None:
    other = [*arguments, *sets(f"store={store}", "label.vocabulary=car")]
    left = todo(run_json(*other, "--plan"))
    chain = ("catalog", "features", "tubes", "embeddings", "named")
    assert [left[kind] for kind in chain] == [0, 0, 0, 0, 4]
    again = run_json(*other)
    assert again["artifacts"]["embeddings"] == done["artifacts"]["embeddings"]
    passes = list((store / "text").glob("*.safetensors"))
    assert len(passes) == 2, "one of the text encoder per vocabulary"
    before = digests(store)
    assert run_json(*other)["exit_code"] == 0
    assert digests(store) == before
