"""`label_corpus` through the command line: a folder of files to named tubes, and what another vocabulary costs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from stages.tubes.reader import TubeStore
from stages.tubes.table import NAMED
from tests.cli import digests, run, run_json
from tests.media import make_corpus

CLIP = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 16, "patch_size": 8, "width": 16, "head_width": 8, "layers": 1},
    "text_cfg": {"context_length": 12, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}
KMEANS = ("model=kmeans", "kmeans={facet: rgb, clusters: 3}")
VOL = (
    "vol={slots: 3, slot_width: 8, hidden: 16, decoder: [16], frames: 4, warmup: 1}",
    "train={steps: 2, batch: 2}", "fit.videos=2",
)  # fmt: skip


@pytest.fixture(scope="module")
def arguments(tmp_path_factory: pytest.TempPathFactory) -> list[object]:
    folder = tmp_path_factory.mktemp("naming")
    videos = make_corpus(folder / "videos", 4, frames=6)
    (videos / "broken.mp4").write_bytes(b"no video at all" * 99)
    (folder / "clip.json").write_text(json.dumps(CLIP))
    settings = (
        f"data.root={videos}", f"store={folder / 'store'}", "decode.fps=all", "decode.size=[32,48]",
        "backbone={name: patchstats, stride: 8, facets: [tokens, rgb]}", "layout.shard_videos=2",
        f"label.model={folder / 'clip.json'}", "label.weights=random", "label.step=2",
    )  # fmt: skip
    return ["label_corpus", *sets(*settings), "--runner", "local", "--max-failed", "50%"]


def sets(*settings: str) -> list[str]:
    return [word for setting in settings for word in ("--set", setting)]


def todo(plan: dict[str, Any]) -> dict[str, int]:
    return {stage["kind"]: stage["todo"] for stage in plan["stages"]}


def test_another_vocabulary_costs_the_naming_alone(arguments: list[object]) -> None:
    words = [*arguments, *sets(*KMEANS)]
    done = run_json(*words, *sets("label.vocabulary=cat,dog"))
    named = TubeStore(done["artifacts"]["named"])
    assert len(named.videos()) == 4 and named.kinds() == (NAMED, "cluster")
    labels = set(named.tubes(named.videos()[0], NAMED)["label"].to_pylist())
    assert labels <= {"cat", "dog", "unnamed"}
    assert done["totals"]["catalog"]["rejected"] == 1 and done["totals"]["named"]["skipped"] == 1
    features = Path(done["artifacts"]["features"])
    assert not list((features / "shards").glob("*.tar")), "keep=results"
    assert Path(done["artifacts"]["report"]).is_dir() and Path(done["artifacts"]["tracks"]).is_dir()

    other = [*words, *sets("label.vocabulary=car")]
    left = todo(run_json(*other, "--plan"))
    chain = ("catalog", "features", "tubes", "embeddings", "named")
    assert [left[kind] for kind in chain] == [0, 0, 0, 0, 4]
    again = run_json(*other)
    assert again["artifacts"]["embeddings"] == done["artifacts"]["embeddings"]
    store = Path(done["store"])
    assert len(list((store / "text").glob("*.safetensors"))) == 2, (
        "one pass of the text encoder per vocabulary"
    )
    before = digests(store)
    assert "nothing to do" in run(*other).stderr + run(*other).stdout
    assert digests(store) == before


def test_names_are_the_same_bytes_from_several_workers(arguments: list[object], tmp_path: Path) -> None:
    """Slots of a clip, trained on a sample; the store of one worker and that of two."""
    words = [*arguments, *sets(*VOL, "label.vocabulary=cat,dog")]
    made = {}
    for workers in (1, 2):
        store = tmp_path / str(workers)
        run_json(*words, *sets(f"store={store}"), "--workers", workers)
        made[workers] = digests(store)
        shutil.rmtree(store)
    assert made[1] == made[2]
    assert any(name.startswith("named/") for name in made[1])
