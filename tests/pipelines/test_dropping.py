"""Features that go when nothing reads them any more, and come back when something does: real small runs."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cluster.chain import Chain, Receipt, Task
from cluster.local import LocalRunner
from configs.compose import compose
from pipelines.dropping import Dropper, used_elsewhere
from pipelines.graph import Graph, build
from pipelines.output import Output
from pipelines.planning import Options, Plan, StagePlan, make_plan
from pipelines.running import finish
from pipelines.runs import RunRecord
from pipelines.sharing import works_on
from pipelines.verifying import verify
from pipelines.working import Work
from stages.artifacts import dropping, whole
from stages.artifacts.layout import Artifact
from stages.artifacts.ledger import Ledger
from stages.features.store.reader import FeatureStore
from tests.media import make_corpus

VIDEOS = 4
TRAINED = (
    "backbone={name: patchstats}", "backbone.facets=[tokens]", "label.vocabulary=cat",
    "vol={slots: 3, slot_width: 8, hidden: 8, frames: 2, position_grid: 4, decoder: [8]}",
    "train={steps: 1, batch: 2}", "fit.videos=0",
)  # fmt: skip


class Watching(LocalRunner):
    """The local runner; notes how many feature shards there are at every receipt, and at every training."""

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.most, self.before_fit, self.tasks = 0, -1, 0
        self._features = graph.chain[1].artifact

    def run(self, chain: Chain, tasks: Sequence[Task], run_id: str) -> Iterator[Receipt]:
        for receipt in super().run(chain, tasks, run_id):
            self.tasks += 1
            self.most = max(self.most, len(there(self._features)))
            yield receipt

    def fit(self, *args: Any) -> None:
        self.before_fit = len(there(self._features))
        super().fit(*args)


def there(features: Artifact) -> set[str]:
    """The feature shards that are on disk."""
    return {path.name for path in (features.root / "shards").glob("*.tar")}


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_corpus(tmp_path_factory.mktemp("dropping") / "videos", VIDEOS, frames=3)


def made(videos: Path, store: Path, *changes: str, recipe: str = "segment") -> Graph:
    settings = [f"data.root={videos}", f"store={store}", "decode.fps=all", "decode.size=[32,48]"]
    settings += ["backbone.facets=[tokens,rgb]", "layout.shard_videos=1", "keep=results"]
    settings += ["method.name=kmeans", "kmeans={facet: rgb, clusters: 2}"] if recipe == "segment" else []
    return build(compose(recipe, assignments=[*settings, *changes]))


def run(graph: Graph, runner: LocalRunner | None = None, options: Options | None = None) -> Plan:
    """A run as the command line makes it, without the pages at its end."""
    plan = make_plan(graph, options or Options(), record=True)
    record = RunRecord(graph.store, graph.config, [bound.artifact.root.name for bound in graph.chain])
    Work(graph, options or Options(), runner or LocalRunner(), Output(True), record).do(plan)
    record.close("finished", 0)
    return plan


def features_plan(graph: Graph) -> StagePlan:
    return make_plan(graph, Options()).stages[1]


def shas(artifact: Artifact) -> dict[str, bytes]:
    return {shard: artifact.manifest(shard).read_bytes() for shard in artifact.committed()}


def test_features_go_as_soon_as_they_are_read_and_everything_counts_as_done(
    videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    graph = made(videos, tmp_path)
    runner = Watching(graph)
    run(graph, runner)
    totals = finish(graph, runner, complete=True)
    features = graph.chain[1].artifact
    assert runner.most == 1, "never more than the shard that is being read"
    assert there(features) == set() and len(features.committed()) == VIDEOS
    assert (totals["features"].done, totals["features"].bytes, totals["features"].dropped) == (4, 0, 4)
    assert totals["tubes"].done == VIDEOS
    assert not make_plan(graph, Options()).pending
    capsys.readouterr()
    assert verify(graph, argparse.Namespace(repair=False), Output(True)) == 0
    assert json.loads(capsys.readouterr().out)["checked"] == 3 * VIDEOS
    store = FeatureStore(features.root)
    assert len(store.videos) == VIDEOS
    with pytest.raises(FileNotFoundError, match="dropped after use"):
        store.clip(store.videos[0], facet="rgb")
    again = Watching(graph)
    run(graph, again)
    assert again.tasks == 0


def test_a_new_reader_has_them_made_anew_with_the_same_bytes(videos: Path, tmp_path: Path) -> None:
    graph = made(videos, tmp_path)
    run(graph)
    features = graph.chain[1].artifact
    before = shas(features)
    other = made(videos, tmp_path, "kmeans.clusters=3")
    assert other.chain[1].artifact == features
    plan = features_plan(other)
    assert (plan.todo, plan.reasons) == (VIDEOS, ["4 videos whose features were dropped"])
    assert plan.bytes == sum(Ledger.load(features).shards.values())
    runner = Watching(other)
    run(other, runner)
    assert runner.most == 1 and there(features) == set()
    assert len(other.chain[2].artifact.committed()) == VIDEOS
    kept = made(videos, tmp_path, "kmeans.clusters=4", "keep=all")
    run(kept)
    assert len(there(features)) == VIDEOS and features.dropped() == set()
    assert shas(features) == before
    assert verify(kept, argparse.Namespace(repair=False), Output(True)) == 0, "the files are what they were"


def test_only_what_is_needed_is_made_anew(videos: Path, tmp_path: Path) -> None:
    """A run of a new reader that was killed after two of its shards."""
    graph = made(videos, tmp_path)
    run(graph)
    run(made(videos, tmp_path, "kmeans.clusters=3"))
    tubes = made(videos, tmp_path, "kmeans.clusters=3").chain[2].artifact
    for shard in tubes.committed()[2:]:
        tubes.manifest(shard).unlink()
    plan = features_plan(made(videos, tmp_path, "kmeans.clusters=3"))
    assert plan.reasons == ["2 videos whose features were dropped"]


def test_what_a_killed_run_has_marked_and_not_removed(videos: Path, tmp_path: Path) -> None:
    kept = made(videos, tmp_path, "keep=all")
    run(kept)
    features, tubes = kept.chain[1].artifact, kept.chain[2].artifact
    assert len(there(features)) == VIDEOS
    first, second, *_ = features.committed()
    for shard in (first, second):
        features.dropped_mark(shard).parent.mkdir(exist_ok=True)
        features.dropped_mark(shard).touch()
    tubes.manifest(f"{second}-00").unlink()
    before = shas(features)
    assert features_plan(kept).reasons == ["1 videos whose features were dropped"]
    run(kept)
    assert features.dropped() == {first}, "the one that was needed is whole again"
    assert shas(features) == before and len(tubes.committed()) == VIDEOS
    run(made(videos, tmp_path))
    assert there(features) == set(), "the next run that keeps results only sweeps up"


def test_a_video_whose_file_is_gone_becomes_a_reject(videos: Path, tmp_path: Path) -> None:
    own = make_corpus(tmp_path / "videos", 2, frames=3)
    graph = made(own, tmp_path / "store", "layout.shard_videos=2")
    run(graph)
    (own / "clip_00.mp4").unlink()
    other = made(own, tmp_path / "store", "layout.shard_videos=2", "kmeans.clusters=3")
    run(other)
    ledgers = [Ledger.load(bound.artifact).totals() for bound in other.chain]
    assert [(t.done, t.rejected, t.skipped) for t in ledgers] == [(2, 0, 0), (1, 1, 0), (1, 0, 1)]


def test_nothing_goes_while_another_run_works_on_it(videos: Path, tmp_path: Path) -> None:
    graph = made(videos, tmp_path)
    features = graph.chain[1].artifact
    other = RunRecord(graph.store, graph.config, [features.root.name])
    assert used_elsewhere(graph, "me") and not used_elsewhere(graph, other.id)
    run(graph)
    assert len(there(features)) == VIDEOS and features.dropped() == set()
    other.close("finished", 0)
    run(graph)
    assert there(features) == set()


@pytest.mark.parametrize(
    ("keeps", "more", "left"),
    [(False, [], 0), (True, [], VIDEOS), (False, ["tubes/of-another-method"], VIDEOS)],
)
def test_runs_of_the_same_recipe_drop_beside_one_another(
    videos: Path, tmp_path: Path, keeps: bool, more: list[str], left: int
) -> None:
    graph = made(videos, tmp_path)
    other = RunRecord(graph.store, graph.config, [*works_on(graph), *more], keeps)
    run(graph)
    other.close("finished", 0)
    assert len(there(graph.chain[1].artifact)) == left


def test_a_run_that_appears_at_the_last_moment_is_seen(videos: Path, tmp_path: Path) -> None:
    graph = made(videos, tmp_path, "keep=all")
    run(graph)
    features = graph.chain[1].artifact
    shard = features.committed()[0]
    seen: list[bool] = []

    def wanted() -> bool:
        seen.append(features.dropped_mark(shard).exists())
        return True

    assert not dropping.drop(features, shard, wanted)
    assert seen == [True], "the mark was there when it was asked"
    assert features.dropped() == set() and features.shard(shard).exists()


def test_a_repair_gets_the_features_that_it_needs(
    videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    graph = made(videos, tmp_path)
    run(graph)
    features, tubes = graph.chain[1].artifact, graph.chain[2].artifact
    shard = tubes.committed()[1]
    before = tubes.shard(shard).read_bytes()
    tubes.shard(shard).write_bytes(before[:100])
    args = argparse.Namespace(repair=True, runner="local", workers=1, address=None)
    capsys.readouterr()
    assert verify(graph, args, Output(True)) == 0
    assert json.loads(capsys.readouterr().out)["repaired"] == [str(tubes.shard(shard))]
    assert tubes.shard(shard).read_bytes() == before
    assert there(features) == set()


def test_a_recipe_whose_result_are_features_keeps_them(videos: Path, tmp_path: Path) -> None:
    graph = made(videos, tmp_path, recipe="features")
    run(graph)
    assert len(there(graph.chain[1].artifact)) == VIDEOS


def test_retried_tubes_keep_their_features_until_they_are_done(videos: Path, tmp_path: Path) -> None:
    """A planned task protects what it reads, although all regular shards are there."""
    graph = made(videos, tmp_path, "keep=all")
    run(graph)
    lean, features = made(videos, tmp_path), graph.chain[1].artifact
    shard = features.committed()[0]
    dropper = Dropper(lean, "me")
    dropper.expect([Task(2, f"{shard}-r00", upstream=shard, videos=["clip_00@mp4"], count=1)])
    dropper.sweep()
    assert there(features) == {features.shard(shard).name}
    dropper.take(Receipt(2, f"{shard}-r00", done=1))
    assert there(features) == set()


def trained(videos: Path, store: Path, *changes: str) -> Graph:
    """The part of `label_corpus` up to tubes, with a tiny model."""
    graph = made(videos, store, *TRAINED, *changes, recipe="label_corpus")
    return replace(graph, chain=graph.chain[:3], whole=graph.whole[:1])


def model_of(graph: Graph) -> tuple[int, str, bytes]:
    """How many videos a model was trained on, their digest, and its weights."""
    found = whole.current(graph.whole[0].folder)
    assert found is not None
    said = json.loads((found[0] / "model.json").read_text())
    return said["videos"], said["videos_digest"], (found[0] / "vol.safetensors").read_bytes()


def test_a_training_on_a_sample_sees_its_features_alone(videos: Path, tmp_path: Path) -> None:
    graph = trained(videos, tmp_path / "one", "fit.videos=2")
    model = next(stage for stage in make_plan(graph, Options()).stages if stage.kind == "model")
    assert model.reasons == ["not made yet; on a sample of 2 videos"]
    runner = Watching(graph)
    run(graph, runner)
    assert runner.before_fit == 2, "of the whole catalog's four videos"
    assert len(graph.chain[2].artifact.committed()) == VIDEOS and there(graph.chain[1].artifact) == set()
    assert model_of(graph)[0] == 2
    again = Watching(graph)
    run(graph, again)
    assert (again.before_fit, again.tasks) == (-1, 0)

    full = trained(videos, tmp_path / "two", "fit.videos=2", "keep=all")
    run(replace(full, chain=full.chain[:2], whole=()))
    two = Watching(full)
    run(full, two)
    assert two.before_fit == VIDEOS, "all were there already"
    assert model_of(full) == model_of(graph), "the sample does not depend on how it came about"


def test_another_training_gets_the_dropped_features_of_its_sample(videos: Path, tmp_path: Path) -> None:
    first = trained(videos, tmp_path, "fit.videos=2")
    run(first)
    other = trained(videos, tmp_path, "fit.videos=3", "train.seed=1")
    assert features_plan(other).todo == VIDEOS, "the tubes of the new model need all"
    runner = Watching(other)
    run(other, runner)
    assert runner.before_fit == 3
    assert there(other.chain[1].artifact) == set()
    assert len(other.chain[2].artifact.committed()) == VIDEOS


def test_dropping_and_samples_change_no_fingerprint_at_their_defaults(videos: Path, tmp_path: Path) -> None:
    usual = trained(videos, tmp_path, "keep=all")
    model = usual.whole[0]
    assert set(model.stage.identity()["fields"]) == {"method", "train"}
    lean, sampled = trained(videos, tmp_path), trained(videos, tmp_path, "fit.videos=2")
    assert (lean.fingerprints, lean.whole[0].fingerprint) == (usual.fingerprints, model.fingerprint)
    assert sampled.whole[0].fingerprint != model.fingerprint
    assert sampled.fingerprints[:2] == usual.fingerprints[:2]
