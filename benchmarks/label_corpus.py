"""A large corpus of short videos through `label_corpus`: memory, disk, throughput, kill and resume.

    python benchmarks/label_corpus.py [--videos N] [--recipe R] [--set KEY=VALUE ...] [--out FILE] [--write]

A few clips of sprites under N names (hard links) go through the recipe as a user runs it, with
``keep=results``. The run is killed (SIGKILL) once half of the shards have left the last stage, started
again, and started a third time, when there is nothing to do. Every two seconds are noted: resident
memory of the driver and of all processes below it, bytes of feature shards on disk, and the run's own
counts with the CPU seconds of every stage (workers and their decoders; the run tells them every ten
seconds). Flat memory is the median of the last quarter of the samples over that of the second quarter,
both of the second run while shards come out of the last stage. Throughput is held against the sum of the
stages' CPU seconds over the cores, in the same window and over the whole run. All samples are kept in
the JSON file.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import psutil

from benchmarks.measuring import RUN, Figure, child, machine, parser, quiet_environment, show

CLIPS = 6
"""Different clips; the others are links to them."""
EVERY_S = 2.0
FLAT, BUSY, PLAN_S = 1.10, 0.85, 10.0


@dataclass
class Sample:
    """One look at a run: seconds since its start, resident bytes, bytes of features, shards of the last
    stage, its own counts."""

    at: float
    driver: int
    others: int
    largest: int
    features: int
    shards: int
    stages: dict[str, dict[str, float]]

    @property
    def cpu(self) -> float:
        return sum(stage.get("cpu", 0.0) for stage in self.stages.values())


@dataclass
class Watched:
    """A run that was looked at until it ended or was killed."""

    code: int
    seconds: float
    output: str
    samples: list[Sample] = field(default_factory=list)


def make_videos(folder: Path, count: int, size: tuple[int, int], frames: int) -> None:
    """``count`` names for `CLIPS` files."""
    from stages.sprites.files import clip_files, write_clip
    from stages.sprites.spec import SpritesSpec

    spec = SpritesSpec(level="L1", size=size, frames=frames, count=CLIPS)
    sources = []
    for index in range(CLIPS):
        write_clip(str(folder / "clips"), spec, index)
        sources.append(folder / "clips" / clip_files(spec, index).video)
    for number in range(count):
        path = folder / "videos" / f"{number // 1000:03d}" / f"clip_{number:06d}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        os.link(sources[number % CLIPS], path)


def latest_counts(store: Path) -> tuple[str, dict[str, dict[str, float]]]:
    """Name of the latest run and its counts by stage."""
    for path in sorted(store.glob("runs/*/status.json"), key=lambda p: p.stat().st_mtime)[-1:]:
        status = json.loads(path.read_text())
        return status["run"], status["stages"]
    return "", {}


def feature_bytes(store: Path) -> int:
    total = 0
    for path in store.glob("features/*/shards/*"):
        try:
            total += path.stat().st_size
        except FileNotFoundError:
            continue  # dropped just now
    return total


def look(process: psutil.Process, store: Path, last: str, before: str, at: float) -> Sample:
    """``before``: the run before, whose counts are not this one's."""
    sizes = []
    for one in (process, *process.children(recursive=True)):
        try:
            sizes.append(one.memory_info().rss)
        except psutil.Error:
            sizes.append(0)
    run, stages = latest_counts(store)
    shards = len(list(store.glob(f"{last}/*/manifest/*.parquet")))
    return Sample(
        at, sizes[0], sum(sizes[1:]), max(sizes[1:], default=0), feature_bytes(store), shards,
        {} if run == before else stages,
    )  # fmt: skip


def watch(command: list[str], store: Path, last: str, enough: int | None = None) -> Watched:
    """Run ``command`` and look at it; with ``enough`` shards of the stage ``last`` it and all below it are
    killed."""
    before, _ = latest_counts(store)
    began = time.perf_counter()
    with tempfile.TemporaryFile("w+") as output:
        started = psutil.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=quiet_environment())
        found = Watched(0, 0.0, "")
        while started.poll() is None:
            time.sleep(EVERY_S)
            try:
                sample = look(started, store, last, before, time.perf_counter() - began)
            except psutil.Error:
                break
            found.samples.append(sample)
            if enough is not None and sample.shards >= enough:
                family = started.children(recursive=True)
                started.send_signal(signal.SIGKILL)
                _, left = psutil.wait_procs(family, timeout=30)
                for process in left:  # Ray's own, which a dead driver can't stop
                    process.kill()
                break
        found.code = started.wait()
        found.seconds = time.perf_counter() - began
        output.seek(0)
        found.output = output.read()
    return found


def flatness(samples: list[Sample], value: Callable[[Sample], int]) -> float:
    """Median of the last quarter over that of the second."""
    quarter = max(len(samples) // 4, 1)
    second, last = samples[quarter : 2 * quarter] or samples, samples[-quarter:]
    return statistics.median(map(value, last)) / max(statistics.median(map(value, second)), 1)


def busy(samples: list[Sample], cores: int) -> float:
    """CPU seconds of the stages per core and second, between the first and the last change of the counts."""
    changes = [b for a, b in itertools.pairwise(samples) if b.cpu > a.cpu]
    if len(changes) < 2:
        return 0.0
    return (changes[-1].cpu - changes[0].cpu) / cores / (changes[-1].at - changes[0].at)


def committed(store: Path) -> dict[str, int]:
    """Time of commit of every manifest."""
    return {str(path): path.stat().st_mtime_ns for path in store.glob("*/*/manifest/*.parquet")}


def features_in_all(store: Path) -> int:
    """What all features would take, dropped ones included."""
    from stages.artifacts.layout import Artifact
    from stages.artifacts.ledger import Ledger

    return sum(
        sum(Ledger.load(Artifact.at(path.parent)).shards.values())
        for path in store.glob("features/*/stage.json")
    )


def figures_of(
    runs: list[Watched], last: str, store: Path, videos: int, kept: bool, cores: int
) -> list[Figure]:
    """What is held against the targets; ``kept``: the killed run's shards are as they were."""
    whole, third = runs[1:]
    made = sum(int(stage["shards"]) for stage in (third.samples[-1].stages if third.samples else {}).values())
    window = [s for s in whole.samples if s.shards > runs[0].samples[-1].shards]
    result = json.loads(whole.output[whole.output.index("{") :])
    done = result["totals"][last]["done"]
    peak = max(s.features for run in runs for s in run.samples)
    everything = features_in_all(store)
    texts = len([p for p in store.glob("text/**/*.safetensors") if not p.name.startswith(".")])
    flat = {
        "driver": flatness(window, lambda s: s.driver),
        "all processes": flatness(window, lambda s: s.driver + s.others),
    }  # fmt: skip
    steady, total = busy(window, cores), whole.samples[-1].cpu / cores / whole.seconds
    mib = 2**20
    return [
        Figure("videos done", f"{done:,}", f"{videos:,}", done == videos),
        *(
            Figure(f"memory, last quarter / second: {name}", f"{value:.3f}", f"<= {FLAT}", value <= FLAT)
            for name, value in flat.items()
        ),
        Figure("peak memory: driver, largest other, all", ", ".join(
            f"{max(value(s) for run in runs for s in run.samples) / mib:,.0f} MiB"
            for value in (lambda s: s.driver, lambda s: s.largest, lambda s: s.driver + s.others)
        )),
        Figure("peak of features on disk / all of them", f"{peak / max(everything, 1):.3f} "
               f"({peak / mib:,.1f} / {everything / mib:,.1f} MiB)", "< 0.5", peak < everything / 2),
        Figure("features left on disk", f"{feature_bytes(store):,} bytes", "0", feature_bytes(store) == 0),
        Figure(f"CPU seconds of stages / {cores} cores / seconds, streaming", f"{steady:.3f}", f">= {BUSY}",
               steady >= BUSY),
        Figure("the same over the whole second run", f"{total:.3f}"),
        Figure("seconds: killed, resumed, third run", ", ".join(f"{run.seconds:.0f}" for run in runs)),
        Figure("shards of the killed run are as they were", str(kept), "True", kept),
        Figure("shards made by the third run", str(made), "0", made == 0),
        Figure("passes of the text encoder", str(texts), "<= 1", texts <= 1),
    ]  # fmt: skip


def by_stage(runs: list[Watched]) -> str:
    """CPU and wall-clock seconds of every stage, the killed run's last counts included."""
    parts: dict[str, list[float]] = {}
    for run in runs:
        for kind, stage in (run.samples[-1].stages if run.samples else {}).items():
            mine = parts.setdefault(kind, [0.0, 0.0])
            mine[0], mine[1] = mine[0] + stage.get("cpu", 0.0), mine[1] + stage["seconds"]
    return ", ".join(f"{kind} {cpu:.1f} ({wall:.1f})" for kind, (cpu, wall) in parts.items())


def plan_seconds(command: list[str]) -> tuple[float, dict[str, Any]]:
    ended = child([*command, "--plan"])
    return ended.seconds, json.loads(ended.output[ended.output.index("{") :])


def main() -> int:
    arguments = parser(__doc__)
    arguments.add_argument("--videos", type=int, default=10_000)
    arguments.add_argument("--recipe", default="label_corpus")
    arguments.add_argument("--set", dest="settings", action="append", default=[], metavar="KEY=VALUE")
    arguments.add_argument("--runner", choices=("ray", "local"), default="ray")
    arguments.add_argument("--workers", type=int, default=0)
    arguments.add_argument("--size", type=int, nargs=2, default=(64, 96), metavar=("HEIGHT", "WIDTH"))
    arguments.add_argument("--frames", type=int, default=8, help="of a clip")
    arguments.add_argument("--out", type=Path, default=Path("label_corpus.json"), help="all samples, as JSON")
    args = arguments.parse_args()
    cores = psutil.cpu_count() or 1
    about = {"machine": machine(), "recipe": " ".join([args.recipe, *args.settings]), "runner": args.runner}
    with tempfile.TemporaryDirectory(prefix="tubeflow-benchmark-") as name:
        folder, store = Path(name), Path(name, "store")
        began = time.perf_counter()
        make_videos(folder, args.videos, tuple(args.size), args.frames)
        about["corpus"] = (
            f"{args.videos:,} videos of {args.frames} frames, {args.size[0]} x {args.size[1]}, {CLIPS} "
            f"different, made in {time.perf_counter() - began:.0f} s"
        )
        settings = [f"data.root={folder / 'videos'}", f"store={store}", "keep=results", *args.settings]
        command = [*RUN, args.recipe, *(word for s in settings for word in ("--set", s)), "--json"]
        command += ["--runner", args.runner] + (["--workers", str(args.workers)] if args.workers else [])
        first_plan, plan = plan_seconds(command)
        chain = [stage["kind"] for stage in plan["stages"] if "shards" not in stage]
        last = next(kind for kind in reversed(chain) if kind in ("named", "tubes", "features", "catalog"))
        shard = [
            s.rpartition("=")[2]
            for s in ["=64", *settings]
            if s == "=64" or s.startswith("layout.shard_videos")
        ]
        shards = -(-args.videos // int(shard[-1]))
        runs = [watch(command, store, last, shards // 2)]
        assert runs[0].code == -signal.SIGKILL, f"it was not killed in time:\n{runs[0].output}"
        before = committed(store)
        runs.append(watch(command, store, last))
        assert runs[1].code == 0, runs[1].output
        after = committed(store)
        runs.append(watch(command, store, last))
        assert runs[2].code == 0, runs[2].output
        last_plan, plan = plan_seconds(command)
        assert not plan["pending"], plan
        kept = all(after.get(path) == at for path, at in before.items())
        figures = figures_of(runs, last, store, args.videos, kept and committed(store) == after, cores)
        slow = max(first_plan, last_plan)
        figures.append(
            Figure(
                "--plan, seconds: before, after",
                f"{first_plan:.1f}, {last_plan:.1f}",
                f"<= {PLAN_S:g}",
                slow <= PLAN_S,
            )
        )
        about["CPU seconds by stage (wall clock)"] = by_stage(runs)
    args.out.write_text(json.dumps({"about": about, "figures": [asdict(f) for f in figures],
                                    "runs": [asdict(run) for run in runs]}, indent=1))  # fmt: skip
    about["samples"] = str(args.out)
    show("label_corpus on many short videos", figures, about, args.write)
    return 0 if all(figure.good for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(main())
