"""The command line's flags, and which of them go together."""

from __future__ import annotations

import argparse
import textwrap

from configs.schema import Config, keys
from stages.errors import SettingsError
from stages.features.backbones.table import KNOWN

ACTIONS = ("plan", "status", "verify", "explain", "gc", "du")
"""Flags that each do one thing other than running the recipe; at most one of them may be given."""

COMPARE = "compare"
"""In the place of a recipe: a table and a page of several runs."""

_NARROWING = {"limit": "a run or --plan", "retry_failed": "a run or --plan"}


def parser() -> argparse.ArgumentParser:
    """The parser; its help is enough to work with."""
    result = argparse.ArgumentParser(
        prog="python pipelines/run.py",
        description="Run a recipe on videos, or look at what it has done. Without a recipe: list them.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=_epilog(),
    )
    add = result.add_argument
    add("recipe", nargs="?", help="name of the recipe, e.g. features; or: compare")
    add(
        "runs",
        nargs="*",
        metavar="RUN",
        help="compare: runs (as printed), their folders, or folders of metrics",
    )
    add("--set", action="append", default=[], metavar="KEY=VALUE", help="one setting (see below); repeatable")
    add("--config", action="append", default=[], metavar="FILE", help="a YAML file of settings; repeatable")
    what = result.add_argument_group("instead of running")
    add = what.add_argument
    add(
        "--plan",
        action="store_true",
        help="what is cached, what must run and why, and how long; starts nothing",
    )
    add("--status", action="store_true", help="the latest run on the store: alive, how far, how it ended")
    add("--verify", action="store_true", help="check every committed shard byte by byte; exit 4 on damage")
    add("--repair", action="store_true", help="with --verify: compute the damaged shards again")
    add("--explain", metavar="VIDEO", help="a video's way through the stages; an id, a path or a part of it")
    add("--gc", action="store_true", help="list left-overs of killed runs")
    add("--yes", action="store_true", help="with --gc: remove them")
    add("--du", action="store_true", help="disk use of every artifact in the store")
    how = result.add_argument_group("how to run")
    add = how.add_argument
    add("--limit", type=_positive, metavar="N", help="only the first N files of the listing")
    add("--retry-failed", action="store_true", help="try rejected videos again")
    add("--max-failed", default="5%", metavar="P", help="rejects tolerated, a count or a percentage (5%%)")
    add("--runner", choices=("ray", "local"), default="ray", help="where shards are made (default: ray)")
    add("--workers", type=_positive, metavar="N", help="workers (default: one per CPU; local: 1)")
    add(
        "--address",
        metavar="ADDR",
        help="Ray cluster to join or plan for (default: the job's, else a local Ray)",
    )
    add("--json", action="store_true", help="one JSON object on standard output")
    add("--debug", action="store_true", help="show tracebacks")
    return result


def check(args: argparse.Namespace) -> None:
    """Refuse flags that do not go together.

    Raises:
        SettingsError: naming the flags and what they go with.
    """
    chosen = [name for name in ACTIONS if getattr(args, name)]
    if len(chosen) > 1:
        raise SettingsError(f"--{chosen[0]} and --{chosen[1]} don't go together: give one of them")
    action = chosen[0] if chosen else ""
    for name, partner in _NARROWING.items():
        if getattr(args, name) and action not in ("", "plan"):
            flag = name.replace("_", "-")
            raise SettingsError(f"--{flag} goes with {partner}, not with --{action}")
    if args.repair and action != "verify":
        raise SettingsError("--repair goes with --verify")
    if args.yes and action != "gc":
        raise SettingsError("--yes goes with --gc")
    if args.address and args.runner == "local":
        raise SettingsError("--address goes with --runner ray")
    if action != "plan" and (args.address or "").startswith(("http://", "https://")):
        raise SettingsError(
            f"--address {args.address} is a dashboard, which only --plan asks; a run joins the cluster: give "
            "auto or HOST:PORT on one of its nodes, or `ray job submit --address` that dashboard"
        )
    if (action or args.set or args.config) and not args.recipe:
        raise SettingsError("name a recipe first, e.g. features; run without arguments for the list")
    if args.runs and args.recipe != COMPARE:
        raise SettingsError(
            f"{args.runs[0]}: only compare takes runs; settings are given with --set KEY=VALUE"
        )
    if args.recipe == COMPARE and (len(args.runs) < 2 or action):
        raise SettingsError("compare takes two or more runs: python pipelines/run.py compare RUN RUN")
    max_failed(args.max_failed, 100)


def max_failed(text: str, total: int) -> float:
    """The rejects tolerated among ``total`` videos: ``text`` is a count (``3``) or a share (``2.5%``)."""
    try:
        value = float(text.rstrip("%")) / 100 * total if text.endswith("%") else int(text)
    except ValueError:
        raise SettingsError(f"--max-failed {text}: give a count like 3 or a percentage like 5%") from None
    if value < 0:
        raise SettingsError(f"--max-failed {text}: can't be negative")
    return value


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return value


def _epilog() -> str:
    """All settings with their defaults, and the exit codes."""
    lines = ["settings (--set KEY=VALUE), with their defaults:"]
    base = Config()
    for name, text in keys().items():
        if name == "recipe":
            continue
        value: object = base
        for part in name.split("."):
            value = getattr(value, part)
        default = "" if value in ("", None) else f" [{_shown(value)}]"
        lines += textwrap.wrap(
            text or "-", 108, initial_indent=f"  {name + default:<34} ", subsequent_indent=" " * 37
        )
    names = ", ".join(KNOWN)
    lines += ["", *textwrap.wrap(f"backbones: {names}, any timm name", 108, subsequent_indent=" " * 11)]
    lines += [
        "",
        "exit codes: 0 done, 1 bug, 2 usage or settings, 3 more rejects than --max-failed,",
        "            4 verification failed, 5 resources insufficient, 130 interrupted (run again to go on)",
        "examples:   python pipelines/run.py features --set data.root=~/videos --plan",
        "            python pipelines/run.py features --set data.root=~/videos --set decode.fps=all",
    ]
    return "\n".join(lines)


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return ",".join(str(entry) for entry in value)
    return str(value)
