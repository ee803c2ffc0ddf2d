"""What a training tells about itself: the history of its figures, totals, and TensorBoard logs."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from stages.artifacts import scratch
from stages.artifacts.place import Place
from stages.learning.checkpoint import State


def write_history(folder: Path, states: Mapping[str, State], checkpoints: Place) -> dict[str, dict[str, Any]]:
    """Write ``history.parquet`` (``fit, step, name, value``) and the logs of all fits into ``folder``.

    Args:
        states: of the trainings, by the name of the fit.
        checkpoints: folder with the checkpoints of every fit, logs among them.

    Returns:
        Totals by fit: steps, seconds, steps per second, the share of the time spent waiting for data.
    """
    rows = [(fit, *entry) for fit, state in states.items() for entry in state.history]
    table = pa.table(
        {
            "fit": pa.array([row[0] for row in rows], pa.string()),
            "step": pa.array([row[1] for row in rows], pa.int64()),
            "name": pa.array([row[2] for row in rows], pa.string()),
            "value": pa.array(np.array([row[3] for row in rows], np.float64)),
        }
    )
    pq.write_table(table, folder / "history.parquet")
    for fit in states:
        logs = scratch.beside(checkpoints / fit) / "tensorboard"
        if logs.is_dir():
            shutil.copytree(logs, folder / "tensorboard" / fit, dirs_exist_ok=True)
    return {
        fit: {
            "steps": state.step,
            "seconds": round(state.seconds, 3),
            "steps_per_second": round(state.step / max(state.seconds, 1e-9), 3),
            "waiting_for_data": round(state.waited / max(state.seconds, 1e-9), 4),
        }
        for fit, state in states.items()
    }
