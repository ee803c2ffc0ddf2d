"""What the benchmarks share: the machine in words, children and their peak memory, rows of ``RESULTS.md``.

Imports the standard library only: a benchmark that measures a child's memory must be small itself, because
the kernel counts the pages that a child shared with its parent before ``exec`` as the child's.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "RESULTS.md"
RUN = [sys.executable, str(ROOT / "pipelines" / "run.py")]


def parser(doc: str) -> argparse.ArgumentParser:
    """A parser with the flag that all benchmarks have."""
    result = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    result.add_argument("--write", action="store_true", help="append the figures to benchmarks/RESULTS.md")
    return result


def machine() -> str:
    """CPU model, cores, memory and how busy it is: ``AMD EPYC, 2 cores, 7.8 GiB, load 0.1``."""
    model = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{model}, {os.cpu_count()} cores, {memory:.1f} GiB, load {os.getloadavg()[0]:.1f} at the start"


def quiet_environment() -> dict[str, str]:
    """This environment without anything that would point a run elsewhere or give it more threads."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("TUBEFLOW_", "RAY_"))}
    one = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    return {**kept, **one, "RAY_AUTH_MODE": "token"}


@dataclass(frozen=True)
class Ended:
    """A child that has ended: wall-clock seconds, peak resident bytes, and what it wrote."""

    seconds: float
    rss: int
    output: str


def child(command: Sequence[str]) -> Ended:
    """Run a child to its end.

    Raises:
        RuntimeError: it does not exit with 0; holds what it wrote.
    """
    began = time.perf_counter()
    process = subprocess.Popen(
        list(command), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=quiet_environment()
    )
    assert process.stdout is not None
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - began
    if process.returncode:
        raise RuntimeError(f"{shlex.join(command)} exits with {process.returncode}:\n{output}")
    return Ended(seconds, usage.ru_maxrss * 1024, output)


@dataclass(frozen=True)
class Figure:
    """One figure: what it is, its value in words, and the target it is held against (or none)."""

    name: str
    value: str
    target: str = ""
    good: bool = True


def show(title: str, figures: Sequence[Figure], about: Mapping[str, str], write: bool) -> None:
    """Print the figures, and append them to ``RESULTS.md`` where asked."""
    width = max(len(figure.name) for figure in figures)
    for key, value in about.items():
        print(f"{key}: {value}")
    for figure in figures:
        verdict = f"   target {figure.target}: {'yes' if figure.good else 'NO'}" if figure.target else ""
        print(f"  {figure.name:<{width}}  {figure.value}{verdict}")
    if write:
        _append(title, figures, about)


def _append(title: str, figures: Sequence[Figure], about: Mapping[str, str]) -> None:
    command = shlex.join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]])
    today = f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC"
    lines = ["", f"## {title}: {today}", "", f"`{command}`", ""]
    lines += [f"- {key}: {value}" for key, value in about.items()]
    lines += ["", "| figure | value | target | met |", "|---|---|---|---|"]
    for f in figures:
        lines.append(
            f"| {f.name} | {f.value} | {f.target} | {('yes' if f.good else 'no') if f.target else ''} |"
        )
    with RESULTS.open("a", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")
