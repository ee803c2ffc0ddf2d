"""What the engine itself costs for 10^6 videos: planner, runner and ledger around stages that do nothing.

    python benchmarks/scale.py [--rows N ...] [--runner local|ray] [--workers N] [--write]

A catalog that opens no file and a stage that does nothing (`benchmarks/scale_stages.py`) go through the real
plan, runner, commits, manifests, ledger and ``_SUCCESS.json``, in shards of 64 videos: first everything, then
the same again, which must do nothing, then 1 % more videos. Each of the three is a process of its own, as a
user's run is. Per phase: wall-clock seconds, CPU seconds of the driver and of the workers that it waited for
(not of Ray's, which belong to others), the driver's peak resident memory, and its operations: opens, stats,
listings, fsyncs, renames, removals, and system calls that read or write (here those of ended children count).

Where others use the machine meanwhile, CPU seconds say more than seconds.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.measuring import Figure, child, machine, parser, show

MOST_BYTES, LEAST_RATE = 2e9, 2000
GROWTH = 100
"""One more video for every so many."""
EVENTS = {
    "open": "opens",
    "os.listdir": "listings",
    "os.scandir": "listings",
    "os.rename": "renames",
    "os.link": "renames",
    "os.remove": "removals",
}
OPERATIONS = ("opens", "stats", "listings", "fsyncs", "renames", "removals", "reads", "writes", "calls")


class Measured:
    """Counts this process's file operations, and what a phase takes.

    Args:
        calls: count calls of functions too, Python's and those of extensions: slower.
    """

    def __init__(self, calls: bool) -> None:
        self.phases: dict[str, dict[str, float]] = {}
        self._counts: Counter[str] = Counter()
        self._calls = calls
        sys.addaudithook(self._heard)
        for name in ("stat", "fsync"):
            setattr(os, name, self._counting(name, getattr(os, name)))

    def _heard(self, event: str, _: Any) -> None:
        if event in EVENTS:
            self._counts[EVENTS[event]] += 1

    def _counting(self, name: str, call: Any) -> Any:
        def counted(*args: Any, **named: Any) -> Any:
            self._counts[name + "s"] += 1
            return call(*args, **named)

        return counted

    def _called(self, _: Any, event: str, __: Any) -> None:
        if event in ("call", "c_call"):
            self._counts["calls"] += 1

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Measure what happens within."""
        Path("/proc/self/clear_refs").write_text("5")  # the peak of resident memory starts anew
        before, counts = _state(), Counter(self._counts)
        if self._calls:
            threading.setprofile(self._called)
            sys.setprofile(self._called)
        yield
        sys.setprofile(None)
        threading.setprofile(None)  # type: ignore[arg-type]
        took = {key: value - before[key] for key, value in _state().items()}
        self.phases[name] = {**took, "peak": resident("VmHWM"), **(self._counts - counts)}


def resident(key: str) -> int:
    """Resident bytes of this process: ``VmRSS`` now, ``VmHWM`` at their peak."""
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in status if line.startswith(key))


def _state() -> dict[str, float]:
    io = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "seconds": time.perf_counter(),
        "cpu": time.process_time(),
        "cpu_workers": children.ru_utime + children.ru_stime,
        "reads": int(io["syscr"]),
        "writes": int(io["syscw"]),
    }


def run(folder: Path, runner_name: str, workers: int, calls: bool = False) -> dict[str, Any]:
    """A whole run as the command line does it, with every phase measured."""
    from rich.console import Console

    from benchmarks.scale_stages import graph
    from pipelines.planning import Options, make_plan
    from pipelines.progress import Reporter, StageProgress
    from pipelines.running import consolidate, run_plan
    from pipelines.runs import RunRecord

    recipe = graph(folder)
    if runner_name == "ray":
        from cluster.on_ray import RayRunner

        runner: Any = RayRunner(workers)
    else:
        from cluster.local import LocalRunner

        runner = LocalRunner(workers)
    measured, base = Measured(calls), resident("VmRSS")
    with measured.phase("plan"):
        plan = make_plan(recipe, Options(), record=True)
    record = RunRecord(recipe.store, recipe.config)
    stages = [StageProgress(bound.stage.kind, 0) for bound in recipe.chain]
    reporter = Reporter(Console(stderr=True), stages, record.update, quiet=True)
    with measured.phase("run"), reporter, contextlib.closing(runner):
        run_plan(plan, runner, reporter, record.id)
    pending = plan.pending
    del plan
    with measured.phase("end"):
        totals = consolidate(recipe, len(recipe.chain), complete=True)
    record.close("finished", 0)
    counts = {kind: vars(total) for kind, total in totals.items()}
    return {"phases": measured.phases, "totals": counts, "pending": pending, "base": base}


def measure(rows: int, runner: str, workers: int, where: str | None) -> dict[str, Any]:
    """Three runs on ``rows`` videos, each in a process of its own."""
    from benchmarks.scale_stages import set_count

    found = {}
    with tempfile.TemporaryDirectory(prefix="tubeflow-benchmark-", dir=where) as name:
        more = rows + rows // GROWTH
        for step, count in (("first", rows), ("again", rows), ("grown", more)):
            set_count(Path(name, "videos"), count)
            command = [sys.executable, __file__, "--do", name, "--runner", runner, "--workers", str(workers)]
            ended = child(command)
            result = json.loads(ended.output.splitlines()[-1])
            result["seconds"] = ended.seconds
            catalog, noop = result["totals"]["catalog"], result["totals"]["noop"]
            assert result["pending"] == (step != "again"), result
            assert catalog["done"] + catalog["rejected"] == count == noop["done"] + noop["skipped"], result
            assert catalog["rejected"] == noop["skipped"] > 0, result
            found[step] = result
            print(f"{rows:,} {step}: {ended.seconds:.1f} s", json.dumps(result["phases"]), flush=True)
    return found


def figures(rows: int, found: dict[str, Any]) -> list[Figure]:
    """The rows of the table for one size."""
    first = found["first"]["phases"]
    seconds = sum(phase["seconds"] for phase in first.values())
    cpu = sum(phase["cpu"] + phase["cpu_workers"] for phase in first.values())
    peak = max(phase["peak"] for step in found.values() for phase in step["phases"].values())
    label = f"{rows:,} videos"
    result = [
        Figure(
            f"{label}: videos per second, plan to end",
            f"{rows / seconds:,.0f}",
            f">= {LEAST_RATE:,}",
            rows / seconds >= LEAST_RATE,
        ),
        Figure(f"{label}: videos per CPU second of driver and its children", f"{rows / cpu:,.0f}"),
        Figure(
            f"{label}: peak RSS of the driver in MB",
            f"{peak / 1e6:,.0f}",
            f"<= {MOST_BYTES / 1e6:,.0f}",
            peak <= MOST_BYTES,
        ),
    ]
    for step, one in found.items():
        for name, phase in one["phases"].items():
            if phase["seconds"] > 0.01:
                result.append(Figure(f"{label}, {step}: {name}", in_words(phase)))
    return result


def in_words(phase: dict[str, float]) -> str:
    """What a phase took."""
    text = f"{phase['seconds']:.1f} s, {phase['cpu']:.1f} s CPU"
    if phase["cpu_workers"]:
        text += f" (+ {phase['cpu_workers']:.1f} s of children)"
    text += f", {phase['peak'] / 1e6:,.0f} MB"
    return text + "".join(f", {phase[kind]:,.0f} {kind}" for kind in OPERATIONS if phase.get(kind))


def growth(sizes: Sequence[int], found: Sequence[dict[str, Any]]) -> list[Figure]:
    """How CPU seconds and system calls grow between the sizes, over how the sizes do: 1.0 is linear."""
    result = []
    for (less, before), (more, after) in pairwise(zip(sizes, found, strict=True)):
        parts = []
        for name, phase in after["first"]["phases"].items():
            old, times = before["first"]["phases"][name], more / less
            cpu = (phase["cpu"] + phase["cpu_workers"]) / (old["cpu"] + old["cpu_workers"]) / times
            parts.append(f"{name} {cpu:.2f} (system calls {phase['reads'] / old['reads'] / times:.2f})")
        result.append(
            Figure(f"growth of CPU seconds from {less:,} to {more:,}, 1 is linear", ", ".join(parts))
        )
    return result


def main() -> int:
    arguments = parser(__doc__)
    arguments.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    arguments.add_argument("--runner", choices=("local", "ray"), default="local")
    arguments.add_argument("--workers", type=int, default=2)
    arguments.add_argument("--where", metavar="FOLDER", help="put the store on this folder's disk")
    arguments.add_argument("--do", metavar="FOLDER", help="only run on the folder, in this process")
    arguments.add_argument("--calls", action="store_true", help="with --do: count calls of functions too")
    args = arguments.parse_args()
    if args.do:
        print("\n" + json.dumps(run(Path(args.do), args.runner, args.workers, args.calls)))
        return 0
    about = {"machine": machine(), "runner": f"{args.runner}, {args.workers} workers"}
    found = [measure(rows, args.runner, args.workers, args.where) for rows in args.rows]
    shown = [figure for rows, one in zip(args.rows, found, strict=True) for figure in figures(rows, one)]
    show(f"engine overhead, {args.runner}", shown + growth(args.rows, found), about, args.write)
    return 0


if __name__ == "__main__":
    sys.exit(main())
