"""Recipes run as a user runs them, and their figures over several seeds."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev

from stages.evaluation.results import read_metrics

PROJECT = Path(__file__).resolve().parents[1]

Values = dict[str, dict[str, float]]
"""Figures, as fractions, by candidate and protocol."""


def artifacts(recipe: str, settings: Sequence[str], *flags: str) -> dict[str, str]:
    """The folders that one run of ``recipe`` with the given settings leaves, by kind."""
    command = [sys.executable, str(PROJECT / "pipelines" / "run.py"), recipe, "--runner", "local", "--json"]
    command += flags
    for setting in settings:
        command += ["--set", setting]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, str] = json.loads(done.stdout)["artifacts"]
    return found


def values(recipe: str, settings: Sequence[str], *flags: str) -> Values:
    """What one run of ``recipe`` with the given settings measures."""
    metrics = read_metrics(artifacts(recipe, settings, *flags)["metrics"])
    if metrics is None:
        raise SystemExit(f"the recipe {recipe} measured nothing")
    found: Values = metrics["values"]
    return found


def average(results: Sequence[Values], candidate: str, protocol: str) -> float:
    """Mean over seeds, in percent."""
    return 100 * mean(result[candidate][protocol] for result in results)


def spread(results: Sequence[Values], candidate: str, protocol: str) -> str:
    """Mean and sample deviation over seeds, in percent."""
    found = [100 * result[candidate][protocol] for result in results]
    return f"{mean(found):.1f} +- {stdev(found) if len(found) > 1 else 0.0:.1f}"
