"""What the command line prints. Standard output carries results, standard error progress and errors."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from configs.compose import Recipe
from pipelines.estimating import Estimate
from pipelines.planning import Plan
from stages.artifacts import whole
from stages.artifacts.ledger import Totals
from stages.artifacts.place import place
from stages.evaluation.results import read_metrics
from stages.labeling.accuracy import Accuracy


def human_bytes(count: int | None) -> str:
    """``count`` bytes in the largest fitting unit; ``?`` where unknown."""
    if count is None:
        return "?"
    size, unit = float(count), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB", "PiB"):
        if size < 1024:
            break
        size, unit = size / 1024, larger
    return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"


def human_seconds(seconds: float | None) -> str:
    """A time in the unit that fits; ``?`` where unknown."""
    if seconds is None:
        return "?"
    for unit, size, most in (("s", 1, 120), ("min", 60, 120), ("hours", 3600, 72)):
        if seconds < size * most:
            value = seconds / size
            return f"{value:.1f} {unit}" if 0 < value < 10 else f"{value:.0f} {unit}"
    return f"{seconds / 86400:.1f} days"


_PIPE_WIDTH = 240
"""Columns of tables that go to a file or a pipe, where wrapped cells would be of no use."""


class Output:
    """Prints for people, or one JSON object on standard output for programs."""

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json
        width = None if sys.stdout.isatty() else _PIPE_WIDTH
        self.console = Console(width=width, highlight=False, soft_wrap=True, markup=False, emoji=False)
        self.errors = Console(stderr=True, highlight=False, soft_wrap=True, markup=False, emoji=False)

    def say(self, text: str) -> None:
        """A line for people; silent with ``--json``."""
        if not self.as_json:
            self.console.print(text)

    def data(self, value: dict[str, Any]) -> None:
        """The one JSON object; silent without ``--json``."""
        if self.as_json:
            self.console.file.write(json.dumps(value, indent=2, default=str) + "\n")

    def error(self, text: str) -> None:
        """A line on standard error."""
        self.errors.print(text)

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """A plain table for people."""
        if self.as_json:
            return
        table = Table(box=None, pad_edge=False, header_style="bold")
        for name in columns:
            table.add_column(name, justify="left" if name in _LEFT else "right", overflow="fold")
        for row in rows:
            table.add_row(*row)
        self.console.print(table)

    def recipes(self, recipes: Sequence[Recipe]) -> None:
        """The list of recipes, one line each."""
        width = max(len(recipe.name) for recipe in recipes)
        for recipe in recipes:
            self.say(f"{recipe.name:<{width}}  {recipe.help}")
        self.say(f"{'compare':<{width}}  One table and one page of several runs: compare RUN RUN ...")
        self.data({"recipes": {recipe.name: recipe.help for recipe in recipes}})

    def plan(self, plan: Plan, notes: Sequence[str], found: Estimate, whole: bool = True) -> None:
        """The plan, one row per stage, then what is known about disk, sampling and time.

        Args:
            whole: the JSON object too; False where an error will be it.
        """
        rows = [
            [
                stage.kind,
                f"{stage.cached:,}",
                "?" if stage.todo is None else f"{stage.todo:,}",
                f"{stage.rejected:,}",
                f"{stage.skipped:,}",
                human_bytes(None if one.bytes is None else int(one.bytes)),
                human_seconds(one.seconds),
                "; ".join(stage.reasons) or "nothing to do",
            ]
            for stage, one in zip(plan.stages, found.stages, strict=True)
        ]
        titles = ["stage", "cached", "todo", "rejected", "skipped", "to write", "worker time", "why"]
        self.table(titles, rows)
        for stage in plan.stages:
            self.say(f"{stage.kind}: {stage.folder}")
        for note in notes:
            self.say(note)
        if whole:
            self.data(plan_data(plan, notes, found))

    def totals(self, totals: dict[str, Totals], folders: dict[str, str]) -> None:
        """What a run leaves behind."""
        for kind, total in totals.items():
            self.say(
                f"{kind}: {total.done:,} done, {total.rejected:,} rejected, {total.skipped:,} skipped"
                + (f", {total.frames:,} frames" if kind != "catalog" else "")
                + f", {human_bytes(total.bytes)} in {total.shards - total.dropped:,} shards"
                + (f" ({total.dropped:,} dropped after use)" if total.dropped else "")
            )
            self.say(f"  {folders[kind]}")

    def metrics(self, artifacts: Mapping[str, str]) -> None:
        """The table of figures of a run that has measured something, and where its page is."""
        content = read_metrics(artifacts["metrics"]) if "metrics" in artifacts else None
        if content is not None:
            names = content["protocols"]
            rows = [
                [candidate, *("-" if values[n] is None else f"{100 * values[n]:.1f}" for n in names)]
                for candidate, values in content["values"].items()
            ]
            self.table(["candidate", *names], rows)
        page = whole.current(place(artifacts["report"])) if "report" in artifacts else None
        if page is not None:
            self.say(f"page: {page[0] / 'report.html'}")

    def accuracy(self, found: Mapping[str, Accuracy]) -> None:
        """How often a CLIP that a run has trained, or found trained, knows the right word, in percent."""
        if found:
            rows = [
                [n, *(f"{100 * v:.1f}" for v in (a.right, a.chance, a.majority))] for n, a in found.items()
            ]
            self.table(["zero-shot", "right", "chance", "majority"], rows)


_LEFT = {
    "zero-shot",
    "candidate",
    "stage",
    "why",
    "artifact",
    "run",
    "state",
    "what",
    "video",
    "path",
    "problem",
}


_ESTIMATED = ("items", "frames", "bytes", "shards", "seconds", "cpu", "setup", "gpu_seconds", "source")


def plan_data(plan: Plan, notes: Sequence[str], found: Estimate) -> dict[str, Any]:
    """The plan as JSON-able data."""
    stages = [
        {
            **{name: value for name, value in vars(stage).items() if name != "known"},
            "folder": str(stage.folder),
            "estimate": {name: getattr(one, name) for name in _ESTIMATED},
        }
        for stage, one in zip(plan.stages, found.stages, strict=True)
    ]
    return {
        "recipe": plan.graph.config.recipe,
        "store": str(plan.graph.store),
        "listed": plan.listed,
        "gone": plan.gone,
        "pending": plan.pending,
        "stages": stages,
        "needed_bytes": plan.needed,
        "free_bytes": plan.free,
        "estimate": {
            "seconds": found.wall_seconds,
            "from_seconds": found.low,
            "to_seconds": found.high,
            "worker_seconds": found.worker_seconds,
            "gpu_seconds": found.gpu_seconds,
            "bytes": found.bytes,
            "unknown": found.unknown,
            "workers": found.site.workers,
        },
        "notes": list(notes),
    }
