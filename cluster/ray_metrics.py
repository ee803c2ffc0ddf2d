"""Figures of workers on Ray as Prometheus metrics, through Ray's own agents.

Each node's agent serves them on its metrics port with what Ray itself measures. Ray prefixes names with
``ray_`` and counters end in ``_total``: `NAMES` are as they are scraped. Counts are those of committed
shards, so their sums are the run's own totals; a worker that is killed takes its last seconds' with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from cluster.chain import Receipt
from cluster.ray_setup import ray  # noqa: F401 - before anything of ray
from cluster.watching import recipe_of

# isort: split
from ray.util.metrics import Counter, Gauge, Histogram

_TAGS = ("stage", "run", "recipe")
_SHARD_SECONDS = [1, 3, 10, 30, 100, 300, 1000, 3000]
_COUNTERS = {
    "frames": "Frames stored.",
    "bytes": "Bytes of shards written.",
    "videos": "Videos by outcome: done, skipped, rejected.",
    "rejects": "Rejected videos by error class.",
    "shards": "Shards committed.",
    "working_seconds": "Seconds that workers spent on shards without waiting.",
    "waiting_seconds": "Seconds that workers waited, by what for: decoder, task (the next shard), lease.",
    "cpu_seconds": "CPU seconds of workers and their decoders.",
}
_MORE_TAGS = {"videos": ("outcome",), "rejects": ("error_class",), "waiting_seconds": ("what",)}
_GAUGES = {
    "training_step": "Optimisation steps taken.",
    "training_loss": "Loss of the step that was logged last.",
    "training_steps_per_second": "Steps per second of this training.",
}

NAMES = frozenset(
    {f"ray_tubeflow_{name}_total" for name in _COUNTERS}
    | {f"ray_tubeflow_{name}" for name in _GAUGES}
    | {f"ray_tubeflow_shard_seconds_{part}" for part in ("bucket", "count", "sum")}
)
"""Of the histogram of seconds per shard, Ray makes up the sum from the buckets' middles."""


class RayMeters:
    """Takes a worker's figures; see `cluster.watching.Meters`. Ray's process for it must be running.

    Args:
        run_id: the run; it becomes the tags ``run`` and ``recipe``.
    """

    def __init__(self, run_id: str) -> None:
        self._tags = {"run": run_id, "recipe": recipe_of(run_id)}

    def shard(self, stage: str, receipt: Receipt, rejects: Mapping[str, int]) -> None:
        """Count what ``receipt`` says of a shard of ``stage``, and its ``rejects`` by error class."""
        waited = sum(receipt.waited.values())
        self._count("frames", stage, receipt.frames)
        self._count("bytes", stage, receipt.bytes)
        self._count("shards", stage, 1)
        self._count("working_seconds", stage, max(receipt.seconds - waited, 0.0))
        self._count("cpu_seconds", stage, receipt.cpu)
        for outcome in ("done", "skipped", "rejected"):
            self._count("videos", stage, getattr(receipt, outcome), outcome=outcome)
        for error_class, count in rejects.items():
            self._count("rejects", stage, count, error_class=error_class)
        _histogram().observe(receipt.seconds, {**self._tags, "stage": stage})

    def waited(self, stage: str, what: str, seconds: float) -> None:
        """Count ``seconds`` of waiting."""
        self._count("waiting_seconds", stage, seconds, what=what)

    def training(self, stage: str, figures: Mapping[str, float]) -> None:
        """Show the latest figures of a training."""
        for name in _GAUGES:
            value = figures.get(name.removeprefix("training_"))
            if value is not None:
                _gauge(name).set(value, {**self._tags, "stage": stage})

    def _count(self, name: str, stage: str, value: float, **more: str) -> None:
        if value > 0:  # Ray refuses to add nothing
            _counter(name).inc(value, {**self._tags, "stage": stage, **more})


@cache
def _counter(name: str) -> Counter:
    return Counter(f"tubeflow_{name}", _COUNTERS[name], (*_TAGS, *_MORE_TAGS.get(name, ())))


@cache
def _gauge(name: str) -> Gauge:
    return Gauge(f"tubeflow_{name}", _GAUGES[name], _TAGS)


@cache
def _histogram() -> Histogram:
    return Histogram("tubeflow_shard_seconds", "Seconds to make a shard.", _SHARD_SECONDS, _TAGS)
