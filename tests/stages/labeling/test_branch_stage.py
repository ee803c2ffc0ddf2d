"""The adaptation of patch-CLIP on real features of sprites, from the configuration to the branch."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from rich.console import Console

from cluster.local import LocalRunner
from configs.compose import compose
from pipelines.builders import branch_stage
from pipelines.graph import Graph, build
from pipelines.planning import Options, make_plan
from pipelines.progress import Reporter, StageProgress
from pipelines.running import consolidate, next_fit, run_plan
from stages.discovery.contract import FeatureShape
from stages.errors import SettingsError
from stages.features.store.reader import FeatureStore
from stages.features.store.samplers import ClipSampler, Windows
from stages.labeling.branch_files import load_branch
from stages.labeling.branch_stage import BranchStage
from stages.labeling.branch_training import PatchClipImplementation
from stages.labeling.clip_model import ClipModel
from stages.labeling.clip_patches import PatchTower
from stages.labeling.clip_spec import ClipSpec
from stages.labeling.patch_branch import contrast

SPRITES = (
    "data.kind=sprites", "data.sprites.count=8", "data.sprites.frames=2", "data.sprites.size=[32,32]",
    "decode.fps=all", "decode.size=[32,32]", "train.batch=8", "train.steps=12",
)  # fmt: skip


def graph_in(folder: Path, clip: Path, *more: str) -> Graph:
    settings = [f"data.root={folder / 'data'}", f"store={folder / 'store'}", f"label.model={clip}"]
    return build(compose("adapt_patch_clip", assignments=[*settings, *SPRITES, *more]))


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path) -> Graph:
    """Features are there, the branch is not."""
    graph = graph_in(tmp_path_factory.mktemp("adapt"), tiny_folder)
    plan = make_plan(graph, Options(), record=True)
    stages = [StageProgress(kind, 0) for kind in ("catalog", "features")]
    reporter = Reporter(Console(file=io.StringIO()), stages, lambda _: None, quiet=True)
    run_plan(plan, LocalRunner(), reporter, "test")
    consolidate(graph, 2, complete=False)
    return graph


def trained(graph: Graph, folder: Path, **context: object) -> Path:
    fit = next_fit(graph)
    assert fit is not None and fit.stage.kind == "branch"
    folder.mkdir()
    fit.stage.make([], folder, replace(fit.context, device="cpu", **context))
    return folder


def test_it_learns_and_is_loaded_for_its_tower(
    graph: Graph, tiny: ClipModel, tiny_folder: Path, tmp_path: Path
) -> None:
    folder = trained(graph, tmp_path / "branch")
    names = {path.name for path in folder.iterdir()}
    assert {"branch.safetensors", "branch.json", "model.json", "history.parquet"} <= names
    tower, spec = PatchTower(tiny.visual), ClipSpec(model=str(tiny_folder))
    branch = load_branch(folder, tower, spec)
    images = torch.rand(4, 3, 32, 40)
    assert branch(tower.penultimate(images)).shape == (4, 20, 24)
    rows = pq.read_table(folder / "history.parquet").to_pylist()
    losses = [row["value"] for row in rows if row["name"] == "loss"]
    rates = [row["value"] for row in rows if row["name"] == "rate"]
    assert len(losses) == 12 and losses[-1] < losses[0]
    assert rates[0] == 1.0 and 0 < rates[-1] < 0.05, "a cosine from the published peak"
    assert json.loads((folder / "branch.json").read_text())["model"] == str(tiny_folder)


def test_the_first_step_is_the_loss_of_cached_tokens(graph: Graph, tmp_path: Path) -> None:
    """Recomputed by hand from what the store holds: of every image one crop by lot, class token first."""
    rows = pq.read_table(trained(graph, tmp_path / "branch") / "history.parquet").to_pylist()
    fit = next_fit(graph)
    assert fit is not None and isinstance(fit.stage, BranchStage)
    store = FeatureStore(Path(fit.context.inputs["features"]))
    assert set(store.views) == {"base", "crop0", "crop1"}
    clips = list(islice(ClipSampler(store, Windows(1), seed=0), 8))
    views = [f"crop{int(2 * clip.draw)}" for clip in clips]
    assert set(views) == {"crop0", "crop1"}
    patches, first, image = (
        torch.cat(
            [store.clip(c.video, c.positions, facet, view) for c, view in zip(clips, views, strict=True)]
        )
        for facet in ("penultimate", "penultimate_cls", "embedding")
    )
    torch.manual_seed(0)
    fresh = PatchClipImplementation(fit.stage.method).model("branch", FeatureShape(4, 4, 32), {})
    expected = contrast(fresh(torch.cat([first[:, None], patches], 1).float()), image.float()).loss.item()
    assert next(row["value"] for row in rows if row["name"] == "loss") == pytest.approx(expected, abs=1e-5)


def test_killed_it_goes_on_to_the_same_bytes(graph: Graph, tmp_path: Path) -> None:
    whole = trained(graph, tmp_path / "whole")
    steps = iter(range(100))

    def interrupt(_: object) -> None:
        if next(steps) == 6:
            raise KeyboardInterrupt

    where = {"checkpoints": tmp_path / "checkpoints", "checkpoint_s": 0.0}
    with pytest.raises(KeyboardInterrupt):
        trained(graph, tmp_path / "killed", report=interrupt, **where)
    assert list((tmp_path / "checkpoints" / "branch").glob("step-0000000*"))
    again = trained(graph, tmp_path / "again", **where)
    assert (again / "branch.safetensors").read_bytes() == (whole / "branch.safetensors").read_bytes()


def test_too_few_images(graph: Graph, tmp_path: Path) -> None:
    fit = next_fit(graph)
    assert fit is not None
    stage = replace(fit.stage, train=replace(fit.stage.train, batch=512))  # type: ignore[type-var,attr-defined]
    with pytest.raises(SettingsError, match=r"train.batch=512: there are only 16 images"):
        stage.make([], tmp_path, fit.context)


def test_what_is_refused_before_anything_runs(tiny_folder: Path) -> None:
    def stage(*more: str) -> object:
        return branch_stage(compose("adapt_patch_clip", assignments=[f"label.model={tiny_folder}", *more]))

    assert stage()
    with pytest.raises(SettingsError, match=r"backbone.name=patchstats.*leave it at clip"):
        stage("backbone.name=patchstats", "backbone.facets=[tokens]")
    with pytest.raises(SettingsError, match=r"reads the facet penultimate_cls: add it"):
        stage("backbone.facets=[penultimate,embedding]")
    with pytest.raises(SettingsError, match=r"RN50 has no patch features"):
        build(compose("adapt_patch_clip", assignments=["data.root=/x", "label.model=RN50"]))


def test_what_makes_another_branch(tiny_folder: Path) -> None:
    def fingerprint(*more: str) -> str:
        return branch_stage(
            compose("adapt_patch_clip", assignments=[f"label.model={tiny_folder}", *more])
        ).fingerprint()

    same = fingerprint()
    assert fingerprint("run.threads=2", "label.by=vanilla", "backbone.precision=fp32") == same
    others = {fingerprint(c) for c in ("train.seed=1", "views.crops=3", "label.weights=random")}
    assert len(others | {same}) == 4
