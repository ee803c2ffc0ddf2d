"""Running plans in this process, on real small artifacts."""

from __future__ import annotations

import dataclasses
import io
import json
import threading
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from cluster.chain import Chain, Receipt, Task
from cluster.local import LocalRunner
from cluster.resources import ResourcesError
from configs.compose import compose
from pipelines import running
from pipelines.graph import Graph, build
from pipelines.planning import Options, Plan, make_plan
from pipelines.progress import Reporter, StageProgress
from pipelines.running import (
    Part,
    RunFailedError,
    finish,
    next_fit,
    raise_error,
    refuse_unschedulable,
    run_plan,
)
from stages.artifacts import whole
from stages.artifacts.atomic import StoreError
from stages.artifacts.commit import RepairRefusedError
from stages.artifacts.layout import read_stage_json
from stages.artifacts.manifest import DamagedError
from stages.errors import SettingsError
from stages.report.summary import SummaryStage
from tests.measured import Measured
from tests.media import make_corpus


@pytest.fixture
def graph(tmp_path: Path) -> Graph:
    """Mean colours of three small videos, not yet made."""
    make_corpus(tmp_path / "videos", 3, frames=3)
    settings = [f"data.root={tmp_path / 'videos'}", f"store={tmp_path / 'store'}", "decode.fps=all"]
    settings += ["decode.size=[48,64]", "backbone.facets=[rgb]", "layout.shard_videos=2"]
    return build(compose("features", assignments=settings))


def reporter() -> Reporter:
    stages = [StageProgress(kind, 0) for kind in ("catalog", "features")]
    return Reporter(Console(file=io.StringIO()), stages, lambda _: None, quiet=True)


def run(graph: Graph, levels: int | None = None) -> Plan:
    plan = make_plan(graph, Options(), record=True)
    run_plan(plan, LocalRunner(), reporter(), "run", Part(levels))
    return plan


class Scripted:
    """A runner whose receipts are given; says whether it was used and closed."""

    name = "scripted"

    def __init__(self, *receipts: Receipt) -> None:
        self.receipts = receipts
        self.used = self.closed = False

    def run(self, chain: Chain, tasks: Sequence[Task], run_id: str) -> Iterator[Receipt]:
        self.used = True
        try:
            yield from self.receipts
        finally:
            self.closed = True

    def fit(self, *_: Any) -> None:
        raise AssertionError("nothing is trained here")


def test_a_run_makes_everything_and_a_second_starts_nothing(graph: Graph) -> None:
    assert len(run(graph).tasks) == 2
    totals = finish(graph, LocalRunner(), complete=True)
    assert {kind: (t.done, t.rejected, t.shards) for kind, t in totals.items()} == {
        "catalog": (3, 0, 2), "features": (3, 0, 2),
    }  # fmt: skip
    again = make_plan(graph, Options(), record=True)
    assert not again.pending
    runner = Scripted()
    run_plan(again, runner, reporter(), "again")
    assert not runner.used


def test_only_the_first_levels_are_run_where_a_training_waits(graph: Graph) -> None:
    run(graph, levels=1)
    assert len(graph.chain[0].artifact.committed()) == 2
    assert graph.chain[1].artifact.committed() == []


def test_success_is_said_only_of_what_is_complete(graph: Graph) -> None:
    run(graph)
    finish(graph, LocalRunner(), complete=False)
    features = graph.chain[1].artifact
    assert features.index_path.exists() and not features.success_json.exists()
    finish(graph, LocalRunner(), complete=True)
    assert json.loads(features.success_json.read_text())["done"] == 3


def test_tables_are_made_anew_only_of_another_state(graph: Graph, tmp_path: Path) -> None:
    run(graph)
    facts: dict[str, Any] = {"stages": {}}
    finish(graph, LocalRunner(), complete=True, facts=facts)
    assert set(facts["stages"]) == {"summary"}
    (summary,) = graph.whole
    first = whole.current(summary.folder)
    finish(graph, LocalRunner(), complete=True, facts=facts)
    assert whole.current(summary.folder) == first
    make_corpus(tmp_path / "videos", 5, frames=3)
    run(graph)
    finish(graph, LocalRunner(), complete=True)
    after = whole.current(summary.folder)
    assert first is not None and after is not None and after != first
    assert not first[0].exists(), "the old state is gone once the new one counts"
    assert json.loads((after[0] / "summary.json").read_text())["features"]["done"] == 5


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("store", StoreError),
        ("settings", SettingsError),
        ("damage", DamagedError),
        ("repair", RepairRefusedError),
        ("bug", RunFailedError),
    ],
)
def test_what_a_worker_reports_is_raised_here_with_its_words(kind: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="what it says"):
        raise_error(Receipt(0, "000000", error="what it says", error_kind=kind))


def test_a_good_receipt_raises_nothing() -> None:
    raise_error(Receipt(0, "000000", done=1))


def test_a_reason_to_stop_closes_the_runner_and_takes_success_back(graph: Graph) -> None:
    """Workers must not go on after the driver has given up."""
    plan = make_plan(graph, Options(), record=True)
    success = graph.chain[1].artifact.success_json
    success.write_text("{}")
    runner = Scripted(Receipt(0, "000000", error="disk is full", error_kind="store"), Receipt(0, "000001"))
    with pytest.raises(StoreError, match="disk is full"):
        run_plan(plan, runner, reporter(), "run")
    assert runner.closed
    assert not success.exists()


def settings_of(measured: Measured) -> list[str]:
    """The assignments of the measured run's command line."""
    words = [str(word) for word in measured.arguments]
    return [value for flag, value in pairwise(words) if flag == "--set"]


def test_map_stages_wait_for_a_model_only_until_it_is_there(measured: Measured, tmp_path: Path) -> None:
    done = build(compose("solv_ytvis", assignments=settings_of(measured)))
    assert next_fit(done) is None
    fresh = build(compose("solv_ytvis", assignments=[*settings_of(measured), f"store={tmp_path}"]))
    due = next_fit(fresh)
    assert due is not None
    assert due.stage.kind == "model"


def test_a_model_is_not_trained_again(measured: Measured) -> None:
    graph = build(compose("solv_ytvis", assignments=settings_of(measured)))
    model = next(item for item in graph.whole if item.fit)
    assert not running.make_whole(model, graph, Scripted(), {})


def test_a_model_says_how_its_videos_were_seen(measured: Measured) -> None:
    """What the recipe segment needs to see other videos the same way."""
    spec = read_stage_json(measured.artifact("model"))
    assert set(spec["settings"]) == {"backbone", "decode", "method", "solv"}
    assert spec["settings"]["method"] == {"name": "solv"}
    assert "placement" not in spec["settings"]["decode"], "where they were decoded is no part of it"
    features = read_stage_json(measured.artifact("features"))
    assert spec["features"] == features["identity"]
    assert "settings" not in read_stage_json(measured.artifact("metrics"))


def test_a_store_without_room_is_refused_with_both_figures(graph: Graph) -> None:
    plan = make_plan(graph, Options())
    refuse_unschedulable(plan, here=True)
    big = dataclasses.replace(plan.stages[1], bytes=2_000_000)
    short = dataclasses.replace(plan, stages=[plan.stages[0], big], free=1_000_000)
    with pytest.raises(
        ResourcesError, match=r"has 1,000,000 bytes free and the run needs about 2,0\d\d,\d\d\d"
    ):
        refuse_unschedulable(short, here=True)


@pytest.mark.parametrize("change", ["run.device=cuda", "run.gpus=0.5"])
def test_a_gpu_that_is_not_here_is_refused_here_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    make_corpus(tmp_path / "videos", 1, frames=2)
    settings = [f"data.root={tmp_path / 'videos'}", f"store={tmp_path / 'store'}", change]
    plan = make_plan(build(compose("features", assignments=settings)), Options())
    monkeypatch.setattr(running, "has_gpu", lambda: False)
    with pytest.raises(ResourcesError, match="this machine has no NVIDIA GPU; leave both out"):
        refuse_unschedulable(plan, here=True)
    refuse_unschedulable(plan, here=False)
    monkeypatch.setattr(running, "has_gpu", lambda: True)
    refuse_unschedulable(plan, here=True)


def test_of_two_runs_that_summarise_at_once_the_one_that_saw_more_counts(
    graph: Graph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(graph)
    (summary,) = graph.whole
    began, go_on, make = threading.Event(), threading.Event(), SummaryStage.make

    def slow(*args: Any) -> None:
        began.set(), go_on.wait(20)
        make(*args)

    monkeypatch.setattr(SummaryStage, "make", slow)
    first = threading.Thread(target=running.make_whole, args=(summary, graph, LocalRunner(), {}))
    first.start()
    began.wait(5)
    monkeypatch.setattr(SummaryStage, "make", make)
    make_corpus(tmp_path / "videos", 5, frames=3)
    run(graph)
    running.make_whole(summary, graph, LocalRunner(), {}, tell=lambda _: go_on.set())  # it waits
    go_on.set()
    first.join()
    found = whole.current(summary.folder)
    assert found is not None and found[1] == whole.input_state(summary.inputs)
    assert json.loads((found[0] / "summary.json").read_text())["features"]["done"] == 5
