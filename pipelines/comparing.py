"""``compare RUN RUN ...``: one table and one page of several runs, methods and seeds."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import mean, stdev
from typing import Any

import yaml

from configs.compose import compose
from pipelines.graph import store_folder
from pipelines.output import Output
from pipelines.reasons import flatten
from pipelines.runs import runs_folder
from stages.artifacts import atomic
from stages.artifacts.layout import read_stage_json
from stages.artifacts.place import Place, matches, place
from stages.errors import SettingsError
from stages.evaluation.results import read_metrics
from stages.metrics.all_protocols import help_of
from stages.report.gather import MASKS
from stages.report.page.model import Comparison, ComparisonRow
from stages.report.page.render import render_comparison
from stages.tubes.table import NAMED

_SHARED = ("decode", "backbone", "views", "features")
"""Sections of settings that change the figures of every candidate, trivial ones included."""
_MOST_NAMED = 3


@dataclass(frozen=True)
class Measured:
    """One run's figures, by candidate and protocol, with what tells it from others.

    Attributes:
        run: its name.
        metrics: the folder of the figures.
        data: name of the catalog: equal names are equal data.
        settings: the run's, by section; empty for a folder of metrics of no known run.
        content: of ``metrics.json``.
    """

    run: str
    metrics: Place
    data: str
    settings: Mapping[str, Any]
    content: Mapping[str, Any]

    def seed(self) -> object:
        """What tells runs of equal settings apart."""
        return self.settings["train"]["seed"] if self.settings else self.run


@dataclass
class _Group:
    """A candidate in runs that differ in the seed of the training alone: figures by seed."""

    name: str
    settings: dict[str, Any]
    figures: dict[object, dict[str, float]] = field(default_factory=dict)


def compare(args: argparse.Namespace, output: Output) -> int:
    """Print the table, write the page into the store, and say where.

    Raises:
        SettingsError: a run is not there, or measured nothing, or they measured different data.
    """
    store = store_folder(compose("features", args.config, args.set))
    measured = [_measured(store, run) for run in args.runs]
    _refuse_other_data(measured)
    protocols = list(dict.fromkeys(name for m in measured for name in m.content["protocols"]))
    rows, notes = _rows(measured, protocols), list(_notes(measured, protocols))
    output.table(["candidate", "runs", *protocols], [_cells(row, protocols) for row in rows])
    for note in notes:
        output.say(note)
    names = [m.run for m in measured]
    page = store / "compare" / f"{'+'.join(n.rsplit('-', 1)[-1] for n in names)[:80]}.html"
    comparison = Comparison(
        title=f"{len(names)} runs",
        runs=names,
        protocols=[(p, help_of(p)) for p in protocols],
        rows=rows,
        notes=notes,
    )
    atomic.write_bytes(page, render_comparison(comparison).encode())
    output.say(f"page: {page}")
    output.data({"runs": names, "page": str(page), "rows": [vars(row) for row in rows], "notes": notes})
    return 0


def _measured(store: Place, text: str) -> Measured:
    """The figures of the run ``text``: a run's name, its folder, or a folder of metrics."""
    named = [runs_folder(store) / text] if "://" not in text else []
    folder = next((p for p in (*named, place(text).expanduser()) if p.is_dir()), None)
    if folder is None:
        raise SettingsError(f"{text}: no such run in {runs_folder(store)}, and no folder of that name")
    folder = folder.absolute()
    recorded = (folder / "status.json").is_file()
    metrics = _metrics_of(folder) if recorded else folder
    run = folder if recorded else _run_of(folder)
    content = None if metrics is None else read_metrics(metrics)
    if metrics is None or content is None:
        raise SettingsError(
            f"{text} has no metrics: compare runs of recipes that measure, such as solv_davis"
        )
    settings = {} if run is None else yaml.safe_load((run / "config.yaml").read_text())
    return Measured(folder.name, metrics, read_stage_json(metrics)["inputs"][0], settings, content)


def _metrics_of(run: Place) -> Place | None:
    """The folder of metrics that a run's record names, if it made some."""
    try:
        found = json.loads((run / "status.json").read_text()).get("artifacts", {}).get("metrics")
    except (OSError, ValueError):
        return None
    return None if found is None else place(found)


def _run_of(metrics: Place) -> Place | None:
    """The latest run in its store that made a folder of metrics, or found it made."""
    runs = reversed(matches(runs_folder(metrics.parent.parent), "*/status.json"))
    return next((path.parent for path in runs if _metrics_of(path.parent) == metrics), None)


def _refuse_other_data(measured: Sequence[Measured]) -> None:
    other = next((m for m in measured if m.data != measured[0].data), None)
    if other is not None:
        raise SettingsError(
            f"{measured[0].run} measured {measured[0].data} and {other.run} measured {other.data}: figures "
            "of different data don't compare; name runs with the same data settings"
        )


def _notes(measured: Sequence[Measured], protocols: Sequence[str]) -> Iterator[str]:
    """What a reader of the table has to know: runs that lack a protocol, share figures, or scored other
    numbers of videos."""
    for name in protocols:
        lacking = [m.run for m in measured if name not in m.content["protocols"]]
        if lacking:
            yield f"{name} was not measured by {', '.join(lacking)}: its means are over the other runs."
    counts = {m.run: m.content["videos"] for m in measured}
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{run} {count}" for run, count in counts.items())
        yield f"The runs scored different numbers of videos: {listed}."
    seen: dict[Place, str] = {}
    for m in measured:
        if m.metrics in seen:
            yield f"{m.run} and {seen[m.metrics]} have the same figures, which count once."
        seen.setdefault(m.metrics, m.run)


def _rows(measured: Sequence[Measured], protocols: Sequence[str]) -> list[ComparisonRow]:
    """One row per candidate and settings: mean and sample deviation over the seeds of its trainings."""
    groups: dict[str, _Group] = {}
    for m in measured:
        for candidate, values in m.content["values"].items():
            name, settings = _what(m, candidate)
            key = json.dumps([name, settings], sort_keys=True, default=str)
            group = groups.setdefault(key, _Group(name, settings))
            figures = group.figures.setdefault(m.seed(), {})
            figures.update({p: value for p, value in values.items() if value is not None})
    rows = []
    for group in groups.values():
        same_name = [g.settings for g in groups.values() if g.name == group.name]
        found = list(group.figures.values())
        by_protocol = {p: [f[p] for f in found if p in f] for p in protocols}
        rows.append(
            ComparisonRow(
                group.name + _distinction(group.settings, same_name),
                len(found),
                {p: mean(values) if values else None for p, values in by_protocol.items()},
                {p: stdev(values) if len(values) > 1 else None for p, values in by_protocol.items()},
            )
        )
    return rows


def _what(m: Measured, candidate: str) -> tuple[str, dict[str, Any]]:
    """What a candidate is called, and what its figures depend on, but for the training's seed."""
    own = candidate in MASKS
    if not m.settings:
        return (f"method · {candidate}" if own else candidate), {"metrics": m.metrics.name}
    method = m.settings["method"]["name"] if own else candidate
    sections = [*_SHARED, method, *(["train"] if own else [])]
    if own and NAMED in m.content["values"]:
        sections.append("label")
    settings = flatten({name: m.settings.get(name, {}) for name in sections})
    settings["metrics.id_gap_bug"] = m.settings["metrics"]["id_gap_bug"]
    settings.pop("train.seed", None)
    return (f"{method} · {candidate}" if own else candidate), settings


def _distinction(mine: Mapping[str, Any], all_settings: Sequence[Mapping[str, Any]]) -> str:
    """The settings in which rows of the same name differ, as `` (train.steps=4)``, or nothing."""
    keys = sorted({key for settings in all_settings for key in settings})
    differing = [key for key in keys if any(s.get(key) != mine.get(key) for s in all_settings)]
    if not differing:
        return ""
    shown = [f"{key}={mine.get(key)}" for key in differing[:_MOST_NAMED]]
    return f" ({', '.join(shown)}{', ...' if len(differing) > _MOST_NAMED else ''})"


def _cells(row: ComparisonRow, protocols: Sequence[str]) -> list[str]:
    cells = [row.candidate, str(row.runs)]
    for name in protocols:
        value, spread = row.values[name], row.spread[name]
        text = "-" if value is None else f"{100 * value:.1f}"
        cells.append(text + ("" if spread is None else f" ± {100 * spread:.1f}"))
    return cells
