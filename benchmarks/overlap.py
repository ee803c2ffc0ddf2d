"""Whether stages that stream into each other overlap: throughput of five against that of the slowest alone.

    python benchmarks/overlap.py [--shards N] [--workers N] [--scale X] [--write]

Stages that wait instead of computing go through the real runners: decoding, backbone, segmentation,
embedding and naming, each with a wait of its own per shard. With a pool of workers per stage (Ray), all
five together should be as fast as the slowest alone. The local runner's workers do every stage in turn,
so that it can't; its figure is told beside what its workers could do at best. Steady state counts from
the first shard that is done with its last stage to the last one; the start of a local Ray and of the
pools is told apart.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import pyarrow as pa

from benchmarks.measuring import Figure, machine, parser, show
from cluster.chain import BoundStage, Chain, Task
from stages.artifacts.layout import Artifact, ShardLayout, start
from stages.artifacts.table_writer import ParquetShardWriter
from stages.outcome import Done, Outcome
from stages.stage import Attempts, MapStage, Row, ShardWorker, ShardWriter, WorkContext

WAITS = {"decoding": 0.4, "backbone": 1.0, "segmentation": 0.7, "embedding": 0.5, "naming": 0.2}
"""Seconds per shard."""
LEAST = 0.85
SCHEMA = pa.schema([pa.field("video", pa.string(), nullable=False)])


@dataclass(frozen=True)
class WaitingStage(MapStage):
    """Waits ``seconds`` per shard and writes the names of its videos."""

    kind: ClassVar[str] = "waiting"
    suffix: ClassVar[str] = ".parquet"
    label: str
    seconds: float

    @property
    def name(self) -> str:
        return self.label

    def open(self, context: WorkContext) -> ShardWorker:
        return Waiter(self.seconds)

    def writer(self, path: Path, shard: str) -> ShardWriter:
        return ParquetShardWriter(path, shard, SCHEMA)

    def estimate(self, row: Row) -> tuple[int, int]:
        return 0, 100


class Waiter:
    """One worker of a `WaitingStage`."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def process(
        self, items: Sequence[Row], writer: ParquetShardWriter, attempts: Attempts
    ) -> Iterator[Outcome]:
        for item in items:
            time.sleep(self._seconds / len(items))
            video = item.get("video") or item["uri"]
            writer.add({"video": video})
            yield Done(video, {"frames": 1})

    def close(self) -> None:
        """Nothing is held."""


def make_chain(folder: Path, waits: dict[str, float]) -> Chain:
    context = WorkContext(str(folder), folder)
    chain = []
    for label, seconds in waits.items():
        artifact = Artifact(folder / "waiting" / label, "waiting", ".parquet")
        start(artifact, {"kind": "waiting", "name": label, "identity": {}}, ShardLayout())
        chain.append(BoundStage(WaitingStage(label, seconds), artifact, context))
    return tuple(chain)


def measure(runner, waits: dict[str, float], shards: int) -> tuple[float, float, float]:
    """Shards per second in steady state and with the start, and seconds until the first shard is through."""
    with tempfile.TemporaryDirectory(prefix="tubeflow-benchmark-") as name:
        chain = make_chain(Path(name), waits)
        tasks = [
            Task(0, f"{n:06d}", items=[{"uri": f"v{n}-{i}"} for i in range(4)], count=4)
            for n in range(shards)
        ]
        began, times = time.perf_counter(), []
        with contextlib.closing(runner):
            for receipt in runner.run(chain, tasks, "run"):
                assert not receipt.error, receipt.error
                if receipt.level == len(chain) - 1:
                    times.append(time.perf_counter() - began)
    assert len(times) == shards
    return (shards - 1) / (times[-1] - times[0]), shards / times[-1], times[0]


def compare(
    name: str, make, waits: dict[str, float], shards: int, workers: int, target: float | None
) -> list[Figure]:
    """All stages against the slowest alone."""
    slowest = max(waits, key=lambda label: waits[label])
    alone = measure(make(), {slowest: waits[slowest]}, shards)
    together = measure(make(), waits, shards)
    steady, whole = together[0] / alone[0], together[1] / alone[1]
    words = f"{steady:.3f} ({together[0]:.2f} / {alone[0]:.2f} shards per second)"
    wanted = "" if target is None else f">= {target}"
    ideal = workers / waits[slowest]
    best = (
        f"{together[0] / ideal:.3f}, slowest alone {alone[0] / ideal:.3f} (of {ideal:.2f} shards per second)"
    )
    return [
        Figure(
            f"{name}: five stages / slowest alone, steady", words, wanted, target is None or steady >= target
        ),
        Figure(f"{name}: steady, of what workers without any overhead would do", best),
        Figure(
            f"{name}: five stages / slowest alone, with the start",
            f"{whole:.3f} ({together[1]:.2f} / {alone[1]:.2f})",
        ),
        Figure(f"{name}: seconds to the first shard", f"{together[2]:.1f}, slowest alone {alone[2]:.1f}"),
    ]


def main() -> int:
    arguments = parser(__doc__)
    arguments.add_argument("--shards", type=int, default=60)
    arguments.add_argument("--workers", type=int, default=2)
    arguments.add_argument("--scale", type=float, default=1.0, help="factor on all waits")
    arguments.add_argument("--runner", choices=("ray", "local", "both"), default="both")
    args = arguments.parse_args()
    waits = {label: seconds * args.scale for label, seconds in WAITS.items()}
    about = {
        "machine": machine(),
        "waits": ", ".join(f"{label} {seconds:g} s" for label, seconds in waits.items()),
        "work": f"{args.shards} shards, {args.workers} workers (on Ray: per stage)",
    }
    figures: list[Figure] = []
    if args.runner in ("ray", "both"):
        from cluster.on_ray import RayRunner

        figures += compare("ray", lambda: RayRunner(args.workers), waits, args.shards, args.workers, LEAST)
    if args.runner in ("local", "both"):
        from cluster.local import LocalRunner

        figures += compare("local", lambda: LocalRunner(args.workers), waits, args.shards, args.workers, None)
        best = max(waits.values()) / sum(waits.values())
        figures.append(Figure("local: best possible (each worker does all stages in turn)", f"{best:.3f}"))
    show("overlap of streaming stages", figures, about, args.write)
    return 0 if all(figure.good for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(main())
