"""What a worker tells of its work; on a real cluster in ``test_watching_on_ray.py``."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from cluster import watching
from cluster.watching import TrainingWatch, new_run_id, recipe_of, workers_folder
from tests.faults.processes import wait_until


def test_a_training_that_is_over_is_told_of_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread that writes may have figures left that are newer than its file."""
    monkeypatch.setattr(watching, "WRITE_S", 0.1)
    watch, folder = TrainingWatch(tmp_path, "model"), workers_folder(tmp_path)
    watch({"step": 1})
    wait_until(lambda: list(folder.glob("*.json")), "file", 5)
    (path,) = folder.glob("*.json")
    assert json.loads(path.read_text())["training"] == {"step": 1}
    watch({"step": 2})
    watch.close()
    time.sleep(0.3)
    assert list(folder.iterdir()) == []


def test_ids_of_a_recipe_sort_by_time() -> None:
    """Two runs within a second, too: the latest one is what `--status` tells of."""
    made = []
    for _ in range(5):
        made.append(new_run_id("features"))
        time.sleep(0.001)
    assert made == sorted(set(made))
    assert {recipe_of(run) for run in made} == {"features"}
