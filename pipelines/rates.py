"""What the stages of a recipe cost in earlier runs of a store, read from the runs' records.

A run's ``status.json`` holds, per map stage and per kind of hardware, sums over the shards that it really
made (`measure`), and under ``identities`` which settings each stage had (`identities`). A rate is taken from
runs of the same settings of that stage alone: what lies before it may differ, so that a run with ``--limit``,
whose model is another, counts for the whole corpus.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cluster.chain import Receipt
from cluster.resources import GPU
from pipelines.runs import RunStatus, latest_runs
from stages.artifacts.place import Place
from stages.stage import Stage

LATEST = 30
"""Runs of a store whose records are read, newest first."""
FADING = 0.8
"""What a run counts less than the next newer one."""


def measure(sums: dict[str, dict[str, float]], receipt: Receipt) -> None:
    """Add a shard to the ``sums`` of its stage, by hardware; one that was there, or is made again, is none.

    A sum has ``shards``, ``items`` (files or videos that came in), ``videos`` (outcomes that came out),
    ``frames``, ``bytes``, ``seconds`` and ``cpu`` of work, and apart from these ``setup`` seconds of
    ``workers``.
    """
    if receipt.error or receipt.again or receipt.seconds <= 0:
        return
    entry = sums.setdefault(receipt.hardware, {})
    more = {
        "shards": 1,
        "items": receipt.items,
        "videos": receipt.done + receipt.rejected + receipt.skipped,
        "frames": receipt.frames,
        "bytes": receipt.bytes,
        "seconds": receipt.seconds - receipt.setup,
        "cpu": max(receipt.cpu - receipt.setup, 0.0),
        "setup": receipt.setup,
        "workers": int(receipt.setup > 0),
    }
    for name, value in more.items():
        entry[name] = entry.get(name, 0) + value


def identities(folders: Sequence[tuple[Stage, Place]]) -> dict[str, dict[str, str]]:
    """What a run's record says of its stages: by kind, the digest of the settings and the artifact's name."""
    return {
        stage.kind: {"settings": stage.fingerprint(), "artifact": folder.name} for stage, folder in folders
    }


@dataclass(frozen=True)
class Measurement:
    """What one run tells about one stage: `measure`'s sums on one kind of hardware."""

    run: str
    artifact: str
    hardware: str
    sums: Mapping[str, float]
    weight: float

    def per(self, unit: str, what: str = "seconds") -> float | None:
        """``what`` per ``unit`` (``items``, ``frames``, ...); None where the run had none of them."""
        count = self.sums.get(unit, 0)
        return self.sums.get(what, 0) / count if count else None


@dataclass(frozen=True)
class Rate:
    """What a stage costs, by one or several measurements on one kind of hardware.

    Attributes:
        same: they are of the very artifact, not only of the same settings on other data.
    """

    measurements: tuple[Measurement, ...]
    same: bool

    @property
    def hardware(self) -> str:
        """What it was measured on."""
        return ", ".join(sorted({m.hardware for m in self.measurements}))

    @property
    def items(self) -> int:
        """Items measured."""
        return int(sum(m.sums["items"] for m in self.measurements))

    @property
    def runs(self) -> int:
        """Runs measured."""
        return len({m.run for m in self.measurements})

    def per(self, unit: str, what: str = "seconds") -> float | None:
        """The weighted median of ``what`` per ``unit`` over the runs; None where no run knows."""
        found = self._all(unit, what)
        return weighted_median(found) if found else None

    def spread(self, unit: str) -> tuple[float, float]:
        """The fastest and the slowest run's seconds per ``unit``."""
        values = [value for value, _ in self._all(unit, "seconds")]
        return min(values), max(values)

    def _all(self, unit: str, what: str) -> list[tuple[float, float]]:
        values = [(m.per(unit, what), m.weight) for m in self.measurements]
        return [(value, weight) for value, weight in values if value is not None]


def weighted_median(values: Sequence[tuple[float, float]]) -> float:
    """The smallest of the ``(value, weight)`` at which half of all weight is reached."""
    ordered = sorted(values)
    half, reached = sum(weight for _, weight in ordered) / 2, 0.0
    for value, weight in ordered:
        reached += weight
        if reached >= half:
            return value
    return ordered[-1][0]


class Records:
    """The latest runs' records of a store, asked for rates."""

    def __init__(self, store: Place, latest: int = LATEST) -> None:
        self.store = store
        self._runs = latest_runs(store, latest)

    def rate(
        self, stage: Stage, artifact: str, hardware: Sequence[str] = (), gpu: bool = False
    ) -> Rate | None:
        """What ``stage`` costs; None where no run measured it.

        Args:
            artifact: its folder's name: runs that filled the same one are preferred.
            hardware: names of what there would be to compute on: measurements on others count only where
                there are none on these.
            gpu: the run would use a GPU where the stage can.
        """
        found = self._measurements(stage, artifact)
        same = [m for m in found if m.artifact == artifact]
        chosen = _on(same or found, hardware, gpu)
        return Rate(tuple(chosen), bool(same)) if chosen else None

    def whole(self, stage: Stage) -> tuple[float, int] | None:
        """Seconds that the newest run spent on a fit or reduce stage, and the videos it had; None if none."""
        settings = stage.fingerprint()
        for run in self._runs:
            found = run.status.get("wholes", {}).get(stage.kind)
            if found and _settings(run, stage.kind).get("settings") == settings:
                return float(found["seconds"]), int(found["videos"])
        return None

    def _measurements(self, stage: Stage, artifact: str) -> list[Measurement]:
        settings, found, rank = stage.fingerprint(), [], 0
        for run in self._runs:
            known = _settings(run, stage.kind)
            measured = run.status.get("stages", {}).get(stage.kind, {}).get("measured", {})
            if known.get("settings") != settings or not measured:
                continue
            for hardware, sums in measured.items():
                if sums.get("items"):
                    weight = sums["items"] * FADING**rank
                    found.append(Measurement(run.folder.name, known["artifact"], hardware, sums, weight))
            rank += 1
        return found


def _settings(run: RunStatus, kind: str) -> dict[str, str]:
    found: dict[str, Any] = run.status.get("identities", {})
    return dict(found.get(kind, {}))


def _on(found: Sequence[Measurement], hardware: Sequence[str], gpu: bool) -> list[Measurement]:
    """Those measured on what there will be, else those on the kind of the newest."""
    if not found:
        return []
    there = [m for m in found if any(_alike(name, m.hardware) for name in hardware)]
    accelerated = [m for m in there if _is_gpu(m.hardware)]
    if gpu and accelerated:
        return accelerated
    if plain := [m for m in there if not _is_gpu(m.hardware)]:
        return plain
    return there or [m for m in found if m.hardware == found[0].hardware]


def _alike(name: str, measured: str) -> bool:
    """Whether ``measured`` is what ``name`` says; Ray calls a ``NVIDIA H200`` by its last word."""
    return measured in (name, GPU + name) or name.lower() in measured.lower().split()


def _is_gpu(hardware: str) -> bool:
    return hardware.startswith(GPU)
