"""Estimates from the records of real small runs, and the model that turns work into wall-clock time."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from configs.compose import compose
from pipelines import cli
from pipelines.estimating import Estimate, Site, StageEstimate, estimate, stream_seconds
from pipelines.graph import build
from pipelines.notes import time_notes
from pipelines.planning import Options, make_plan
from pipelines.rates import Records
from pipelines.runs import latest_runs
from stages.artifacts.layout import processor
from tests.media import make_corpus

FILES, FRAMES, FIRST = 7, 8, 3
HERE = Site("this machine", 1, 2, pools=False, hardware=(processor(),))


@dataclass(frozen=True)
class Grown:
    """A store after a run of the first few files."""

    videos: Path
    store: Path

    def settings(self, *more: str) -> list[str]:
        return [
            f"data.root={self.videos}", f"store={self.store}", "decode.fps=all", "decode.size=[48,64]", *more
        ]  # fmt: skip

    def run(self, *flags: str) -> None:
        words = [word for setting in self.settings() for word in ("--set", setting)]
        assert cli.main(["features", *words, "--runner", "local", *flags]) == 0

    def estimate(self, *more: str, site: Site = HERE) -> Estimate:
        plan = make_plan(build(compose("features", assignments=self.settings(*more))), Options())
        return estimate(plan, site)

    def measured(self, run: int = 0) -> dict[str, dict[str, float]]:
        """The latest run's sums by stage."""
        stages = latest_runs(self.store, 9)[run].status["stages"]
        return {kind: stage["measured"].get(processor(), {}) for kind, stage in stages.items()}


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Grown:
    folder = tmp_path_factory.mktemp("grown")
    grown = Grown(make_corpus(folder / "videos", FILES, FRAMES), folder / "store")
    grown.run("--limit", str(FIRST))
    return grown


@pytest.fixture
def copied(grown: Grown, tmp_path: Path) -> Grown:
    shutil.copytree(grown.store, tmp_path / "store")
    return Grown(grown.videos, tmp_path / "store")


def by_kind(found: Estimate) -> dict[str, StageEstimate]:
    return {stage.kind: stage for stage in found.stages}


def test_what_is_left_is_priced_by_what_was_made(grown: Grown) -> None:
    """Also the features of files that no catalog has seen yet."""
    sums = grown.measured()
    assert [sums[kind]["items"] for kind in ("catalog", "features")] == [FIRST, FIRST]
    found = grown.estimate()
    stages, left = by_kind(found), FILES - FIRST
    assert (stages["catalog"].items, stages["features"].items) == (left, left)
    assert stages["features"].frames == left * FRAMES
    for kind in ("catalog", "features"):
        assert stages[kind].seconds == pytest.approx(sums[kind]["seconds"] / FIRST * left)
        said = stages[kind].source
        assert said.startswith("3 ") and said.endswith(f"s of 1 earlier run, on {processor()}")
    assert stages["summary"].seconds is not None and found.unknown == []
    setup = sum(sums[kind]["setup"] for kind in sums)
    assert found.wall_seconds == pytest.approx(found.worker_seconds + setup, rel=0.02)
    assert found.gpu_seconds == 0
    assert "from one earlier run alone" in time_notes(found)[0]


def test_bytes_are_those_that_come(copied: Grown) -> None:
    wanted = by_kind(copied.estimate())["features"].bytes
    copied.run()
    assert copied.measured()["features"]["bytes"] == pytest.approx(wanted, rel=0.1)
    done = copied.estimate()
    assert (done.wall_seconds, done.worker_seconds, done.bytes, time_notes(done)) == (0, 0, 0, [])
    fresh = copied.estimate("store=" + str(copied.store), "data.name=others")
    assert fresh.unknown == ["catalog", "features", "summary"], "files per video are the catalog's to tell"
    copied.run()  # nothing to do
    assert copied.measured() == {}
    rate = Records(copied.store).rate(_features(copied), "elsewhere")
    assert rate is not None and (rate.items, rate.runs, rate.same) == (FILES, 2, False)


def _features(grown: Grown) -> Any:
    return build(compose("features", assignments=grown.settings())).chain[1].stage


def test_nothing_is_guessed(grown: Grown) -> None:
    found = grown.estimate("decode.fps=2")
    assert found.unknown == ["features"] and found.wall_seconds is None
    said = time_notes(found)[0]
    assert said.startswith("time: no measured rate yet for features: run with --limit 20 first")


def test_gpu_hours_are_shares_of_gpus_while_workers_work(grown: Grown) -> None:
    on_gpus = by_kind(grown.estimate(site=replace(HERE, gpus={"features": 0.25})))
    assert on_gpus["features"].gpu_seconds == pytest.approx(0.25 * on_gpus["features"].seconds)
    assert on_gpus["catalog"].gpu_seconds == 0


def part(seconds: float, shards: int, cpu: float = 0, setup: float = 0) -> StageEstimate:
    return StageEstimate("x", 1, seconds=seconds, shards=shards, cpu=cpu, setup=setup)


@pytest.mark.parametrize(
    ("stages", "workers", "pools", "wall"),
    [
        ([part(100, 10)], 1, False, 100),
        ([part(100, 10)], 4, False, 30),  # three turns of ten seconds
        ([part(100, 10), part(50, 10)], 2, False, 75),
        ([part(100, 10), part(50, 10)], 2, True, 55),  # the slow pool, and the first shard before it
        ([part(100, 10, cpu=400)], 4, True, 100),  # four CPUs have 400 CPU seconds to do
        ([part(8, 1, setup=3)], 8, True, 11),  # a shard is made by one worker
    ],
)
def test_wall_clock_of_a_stream(stages: list[StageEstimate], workers: int, pools: bool, wall: float) -> None:
    assert stream_seconds(stages, Site("x", workers, 4, pools)) == pytest.approx(wall)
