"""``compare RUN RUN ...``: one table and one page of several runs, methods and seeds."""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from stages.report.page.model import Comparison, ComparisonRow
from stages.report.page.render import render_comparison

from configs.compose import compose
from pipelines.graph import store_folder
from pipelines.output import Output
from pipelines.runs import runs_folder
from stages.artifacts import atomic, whole
from stages.artifacts.layout import read_stage_json
from stages.errors import SettingsError
from stages.metrics.protocols import PROTOCOLS


@dataclass(frozen=True)
class Measured:
    """One run's figures, by candidate and protocol, with what tells it from others."""

    run: str
    label: str
    seed: int | None
    content: dict[str, Any]


def compare(args: argparse.Namespace, output: Output) -> int:
    """Print the table, write the page into the store, and say where.

    Raises:
        SettingsError: a run is not there, or measured nothing.
    """
    store = store_folder(compose("features", args.config, args.set))
    measured = [_measured(store, run) for run in args.runs]
    protocols = list(dict.fromkeys(name for m in measured for name in m.content["protocols"]))
    rows = _rows(measured, protocols)
    output.table(["candidate", "runs", *protocols], [_cells(row, protocols) for row in rows])
    names = [m.run for m in measured]
    page = store / "compare" / f"{'+'.join(n.rsplit('-', 1)[-1] for n in names)[:80]}.html"
    comparison = Comparison(
        title=f"{len(names)} runs",
        runs=names,
        protocols=[(p, PROTOCOLS[p].help) for p in protocols],
        rows=rows,
    )
    atomic.write_bytes(page, render_comparison(comparison).encode())
    output.say(f"page: {page}")
    output.data({"runs": names, "page": str(page), "rows": [vars(row) for row in rows]})
    return 0


def _measured(store: Path, text: str) -> Measured:
    """The figures of the run ``text``: a run's name, its folder, or a folder of metrics."""
    folder = next((p for p in (runs_folder(store) / text, Path(text).expanduser()) if p.is_dir()), None)
    if folder is None:
        raise SettingsError(f"{text}: no such run in {runs_folder(store)}, and no folder of that name")
    artifacts: dict[str, str] = {"metrics": str(folder)}
    if (folder / "status.json").is_file():
        artifacts = json.loads((folder / "status.json").read_text()).get("artifacts", {})
    found = whole.current(Path(artifacts["metrics"])) if "metrics" in artifacts else None
    if found is None:
        raise SettingsError(
            f"{text} has no metrics: compare runs of recipes that measure, such as solv_davis"
        )
    label, seed = "", None
    if "model" in artifacts:
        spec = read_stage_json(Path(artifacts["model"]))
        label, seed = spec["settings"]["method"]["name"], spec["identity"]["fields"]["train"]["seed"]
    return Measured(folder.name, label, seed, json.loads((found[0] / "metrics.json").read_text()))


def _rows(measured: list[Measured], protocols: list[str]) -> list[ComparisonRow]:
    """One row per method (or trivial row) and candidate: mean and sample deviation over its runs."""
    groups: dict[str, list[dict[str, float | None]]] = {}
    for m in measured:
        for candidate, values in m.content["values"].items():
            own = candidate in ("decoder", "attention", "cluster")
            groups.setdefault(f"{m.label or 'method'} · {candidate}" if own else candidate, []).append(values)
    rows = []
    for candidate, found in groups.items():
        figures: dict[str, float | None] = {}
        spread: dict[str, float | None] = {}
        for name in protocols:
            values = [v for f in found if (v := f.get(name)) is not None]
            figures[name] = mean(values) if values else None
            spread[name] = stdev(values) if len(values) > 1 else None
        rows.append(ComparisonRow(candidate, len(found), figures, spread))
    return rows


def _cells(row: ComparisonRow, protocols: list[str]) -> list[str]:
    cells = [row.candidate, str(row.runs)]
    for name in protocols:
        value, spread = row.values[name], row.spread[name]
        text = "-" if value is None else f"{100 * value:.1f}"
        cells.append(text + ("" if spread is None else f" ± {100 * spread:.1f}"))
    return cells
