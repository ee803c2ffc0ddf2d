"""Recipes made concrete: folders, fingerprints and what enters them."""

from __future__ import annotations

from pathlib import Path

import pytest

from configs.compose import compose
from pipelines import graph as graphs
from pipelines.graph import Graph, build, describe_stage, store_folder
from stages.errors import SettingsError

MAPS = ["catalog", "features", "tubes", "scores"]
WHOLES = ["model", "metrics", "summary", "report"]


def made(tmp_path: Path, *changes: str, recipe: str = "solv_davis", limit: int | None = None) -> Graph:
    base = [f"data.root={tmp_path / 'davis'}", f"store={tmp_path / 'store'}"]
    return build(compose(recipe, assignments=[*base, *changes]), limit)


def folders(graph: Graph) -> dict[str, str]:
    """Names of all artifacts by kind."""
    found = {bound.stage.kind: bound.artifact.root.name for bound in graph.chain}
    return found | {bound.stage.kind: bound.folder.name for bound in graph.whole}


def changed(one: Graph, other: Graph) -> set[str]:
    before, after = folders(one), folders(other)
    assert before.keys() == after.keys()
    return {kind for kind in before if before[kind] != after[kind]}


def test_maps_stream_in_order_and_whole_stages_know_what_they_wait_for(tmp_path: Path) -> None:
    graph = made(tmp_path)
    assert [bound.stage.kind for bound in graph.chain] == MAPS
    assert [bound.stage.kind for bound in graph.whole] == WHOLES
    assert [(bound.fit, bound.after) for bound in graph.whole] == [(True, 2)] + [(False, 4)] * 3
    model, metrics, _, report = graph.whole
    assert [artifact.kind for artifact in model.inputs] == ["catalog", "features"]
    assert metrics.wholes == (model.folder,)
    assert [artifact.kind for artifact in report.inputs] == MAPS
    assert len(report.wholes) == 3


def test_folders_are_named_after_kind_name_and_fingerprint(tmp_path: Path) -> None:
    graph = made(tmp_path)
    for bound, fingerprint in zip(graph.chain, graph.fingerprints, strict=True):
        expected = tmp_path / "store" / bound.stage.kind / f"{bound.stage.name}-{fingerprint[:8]}"
        assert bound.artifact.root == expected
    assert graph.chain[0].artifact.root.name.startswith("davis-")


def test_every_stage_is_told_where_the_ones_before_it_lie(tmp_path: Path) -> None:
    graph = made(tmp_path)
    scores, report = graph.chain[3].context.inputs, graph.whole[-1].context.inputs
    assert set(scores) == {"catalog", "features", "model", "tubes"}
    assert set(report) == {*MAPS, "model", "metrics", "summary"}
    assert scores["model"] == str(graph.whole[0].folder)
    assert scores["tubes"] == str(graph.chain[2].artifact.root)


@pytest.mark.parametrize(
    ("change", "kinds"),
    [
        ("train.seed=1", {"model", "tubes", "scores", "metrics", "summary", "report"}),
        ("solv.always_match=true", {"tubes", "scores", "metrics", "summary", "report"}),
        ("kmeans.clusters=9", {"scores", "metrics", "summary", "report"}),
        ("metrics.protocols=[mbo@video]", {"scores", "metrics", "summary", "report"}),
        ("decode.fps=2", {*MAPS, *WHOLES} - {"catalog"}),
        ("data.name=other", {*MAPS, *WHOLES}),
        ("run.threads=4", set()),
        ("run.train_workers=2", set()),
        ("decode.placement=remote", set()),
        ("run.decode_workers=2", set()),
        ("layout.shard_videos=3", set()),
        ("tubes.export_masks=attention", set()),
    ],
)
def test_a_setting_changes_what_depends_on_it_and_nothing_else(
    tmp_path: Path, change: str, kinds: set[str]
) -> None:
    assert changed(made(tmp_path), made(tmp_path, change)) == kinds


def test_a_moved_folder_or_store_stays_a_cache_hit(tmp_path: Path) -> None:
    other = made(tmp_path, f"data.root={tmp_path / 'moved' / 'davis'}", f"store={tmp_path / 'elsewhere'}")
    assert changed(made(tmp_path), other) == set()


def test_a_limited_run_trains_a_model_of_its_own_on_the_same_features(tmp_path: Path) -> None:
    whole = made(tmp_path)
    below = {"model", "tubes", "scores", "metrics", "summary", "report"}
    assert changed(whole, made(tmp_path, limit=6)) == below
    assert "model" in changed(made(tmp_path, limit=5), made(tmp_path, limit=6))


def test_a_stage_is_described_with_what_it_reads(tmp_path: Path) -> None:
    graph = made(tmp_path)
    first, second = describe_stage(graph, 0), describe_stage(graph, 1)
    assert first["inputs"] == []
    assert second["inputs"] == [graph.chain[0].artifact.root.name]
    assert (second["kind"], second["fingerprint"]) == ("features", graph.fingerprints[1])
    assert second["identity"] == graph.chain[1].stage.identity()


def test_knobs_of_speed_travel_in_the_context(tmp_path: Path) -> None:
    graph = made(tmp_path, "run.threads=3", "run.timeout_s=7", "run.attempts=4", "layout.shard_videos=5")
    context = graph.chain[1].context
    assert (context.threads, context.limits.timeout_s, context.limits.attempts) == (3, 7.0, 4)
    assert graph.layout.videos == 5


def test_where_the_store_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The setting, else the environment, else the home folder."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("TUBEFLOW_STORE", raising=False)
    assert store_folder(compose("features")) == tmp_path / "tubeflow"
    monkeypatch.setenv("TUBEFLOW_STORE", str(tmp_path / "there"))
    assert store_folder(compose("features")) == tmp_path / "there"
    assert store_folder(compose("features", assignments=["store=~/mine"])) == tmp_path / "mine"
    monkeypatch.chdir(tmp_path)
    assert store_folder(compose("features", assignments=["store=near"])) == tmp_path / "near"


def test_stores_that_can_not_be_written_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="store=nowhere://x: there is no file system for nowhere"):
        store_folder(compose("features", assignments=["store=nowhere://x"]))
    (tmp_path / "file").write_text("x")
    with pytest.raises(SettingsError, match="is a file: name a folder"):
        store_folder(compose("features", assignments=[f"store={tmp_path / 'file'}"]))


def test_no_data_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no data: name its folder with --set data.root=FOLDER"):
        build(compose("features", assignments=[f"store={tmp_path}"]))


@pytest.mark.parametrize("change", ["data.root=videos", "store=store"])
def test_relative_paths_are_refused_inside_a_ray_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    """There the working directory is a temporary copy that no other node sees."""
    assert made(tmp_path, change)
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    assert graphs.inside_ray_job()
    with pytest.raises(SettingsError, match=f"{change} is relative, and inside a Ray job"):
        made(tmp_path, change)
    assert made(tmp_path)


def test_a_store_with_credentials_is_refused_without_repeating_them() -> None:
    """Addresses are printed, logged and written into every run's record."""
    for store in ("s3://KEY:S3CRET@bucket/x", "ftp://me:S3CRET@host/x"):
        with pytest.raises(SettingsError, match="usual place") as refused:
            store_folder(compose("features", assignments=[f"store={store}"]))
        assert "S3CRET" not in str(refused.value)
