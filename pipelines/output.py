"""What the command line prints. Standard output carries results, standard error progress and errors."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from configs.compose import Recipe
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

    def plan(self, plan: Plan, notes: Sequence[str]) -> None:
        """The plan, one row per stage, then what is known about disk and sampling."""
        rows = [
            [
                stage.kind,
                f"{stage.cached:,}",
                "?" if stage.todo is None else f"{stage.todo:,}",
                f"{stage.rejected:,}",
                f"{stage.skipped:,}",
                human_bytes(stage.bytes),
                "; ".join(stage.reasons) or "nothing to do",
            ]
            for stage in plan.stages
        ]
        self.table(["stage", "cached", "todo", "rejected", "skipped", "to write", "why"], rows)
        for stage in plan.stages:
            self.say(f"{stage.kind}: {stage.folder}")
        for note in notes:
            self.say(note)
        self.data(plan_data(plan, notes))

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


def plan_data(plan: Plan, notes: Sequence[str]) -> dict[str, Any]:
    """The plan as JSON-able data."""
    stages = [{**vars(stage), "folder": str(stage.folder)} for stage in plan.stages]
    return {
        "recipe": plan.graph.config.recipe,
        "store": str(plan.graph.store),
        "listed": plan.listed,
        "gone": plan.gone,
        "pending": plan.pending,
        "stages": stages,
        "needed_bytes": plan.needed,
        "free_bytes": plan.free,
        "notes": list(notes),
    }
