"""The engine at 2*10^4 videos against 10^4: what it does, and what it takes, may only double."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pytest

from benchmarks import scale
from benchmarks.scale_stages import BAD_EVERY, graph, set_count
from pipelines.planning import Options, make_plan
from stages.artifacts.ledger import Ledger
from stages.catalog.ids import uri_of
from tests import cli as command_line
from tests.outside import PROJECT

SIZES = (10_000, 20_000)
SLACK = 20e6
"""Bytes that allocators take or leave from run to run."""


def run(folder: Path) -> dict[str, Any]:
    """A run in a process of its own: its phases, with calls counted, and its totals."""
    script = PROJECT / "benchmarks" / "scale.py"
    command = [sys.executable, str(script), "--do", str(folder), "--workers", "1", "--calls"]
    done = subprocess.run(
        command, capture_output=True, text=True, env=command_line.environment(), timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """A folder per size, with its data and nothing made."""
    folders = {rows: tmp_path_factory.mktemp(f"scale{rows}") for rows in SIZES}
    for rows, folder in folders.items():
        set_count(folder / "videos", rows)
    return folders


@pytest.fixture(scope="module")
def first(stores: dict[int, Path]) -> dict[int, dict[str, Any]]:
    """The first run on each of them."""
    return {rows: run(folder) for rows, folder in stores.items()}


@pytest.fixture(scope="module")
def again(stores: dict[int, Path], first: object) -> dict[int, dict[str, Any]]:
    """The same once more."""
    return {rows: run(folder) for rows, folder in stores.items()}


def phases(runs: dict[int, dict[str, Any]], phase: str) -> tuple[dict[str, float], dict[str, float]]:
    small, large = (runs[rows]["phases"][phase] for rows in SIZES)
    return small, large


def test_every_video_is_done_once_and_rejects_are_kept(
    stores: dict[int, Path], first: dict[int, dict[str, Any]]
) -> None:
    rows = SIZES[1]
    catalog, noop = (Ledger.load(bound.artifact) for bound in graph(stores[rows]).chain)
    for ledger in (catalog, noop):
        assert ledger.fresh == 0, "the index has everything"
        assert pc.count_distinct(ledger.table["video"]).as_py() == ledger.table.num_rows == rows
    bad = {int(uri_of(video)[-11:-4]) for video in catalog.with_status("rejected")["video"].to_pylist()}
    assert bad == set(range(0, rows, BAD_EVERY))
    assert noop.with_status("skipped")["video"].equals(catalog.with_status("rejected")["video"])
    for bound, total in zip(graph(stores[rows]).chain, first[rows]["totals"].values(), strict=True):
        assert total["done"] == rows - len(bad)
        assert total["shards"] == len(bound.artifact.committed()) == -(-rows // 64)
        assert bound.artifact.success_json.exists()


@pytest.mark.parametrize("phase", ["plan", "run", "end"])
def test_operations_grow_like_the_videos(first: dict[int, dict[str, Any]], phase: str) -> None:
    small, large = phases(first, phase)
    assert small["calls"] > 1000
    grown = {kind: (small.get(kind, 0), large.get(kind, 0)) for kind in scale.OPERATIONS}
    assert {kind: pair for kind, pair in grown.items() if pair[1] > 2.1 * pair[0]} == {}


def test_a_run_with_nothing_to_do_reads_a_few_files(again: dict[int, dict[str, Any]]) -> None:
    """Plans and indexes, and not one of the manifests: as many files for twice the videos."""
    for phase in ("plan", "end"):
        small, large = phases(again, phase)
        for kind in ("opens", "stats", "listings", "fsyncs", "writes"):
            assert large.get(kind, 0) <= small.get(kind, 0) + 10, (phase, kind)
        assert large["reads"] <= small["reads"] + 20, "a larger file takes a few more reads"
    assert not again[SIZES[1]]["pending"]


def test_memory_of_the_driver_grows_like_the_videos(
    first: dict[int, dict[str, Any]], again: dict[int, dict[str, Any]]
) -> None:
    for runs in (first, again):
        small, large = (
            max(phase["peak"] for phase in runs[rows]["phases"].values()) - runs[rows]["base"]
            for rows in SIZES
        )
        assert large <= 2.1 * small + SLACK


def test_a_plan_keeps_no_objects_per_video(tmp_path: Path) -> None:
    """Its tasks are slices of a table; items are dicts while they are listed, and when a task is sent."""
    set_count(tmp_path / "videos", SIZES[1])
    recipe = graph(tmp_path)
    make_plan(recipe, Options())  # what is imported and cached on the way is there now
    gc.collect()
    tracemalloc.start()
    try:
        plan = make_plan(recipe, Options())
        gc.collect()
        kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert sum(task.count for task in plan.tasks) == SIZES[1]
    assert plan.tasks[-1].items is not None and len(list(plan.tasks[-1].items)) == SIZES[1] % 64
    assert kept <= 64 * SIZES[1]
    assert peak <= 1000 * SIZES[1]
