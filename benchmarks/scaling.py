"""How a run scales with nodes: the same work on 1, 2 and 4 Ray nodes of one CPU each, all on this machine.

    python benchmarks/scaling.py [--nodes 1 2 4] [--shards N] [--write]

Two kinds of work go through the Ray runner: a stage that waits instead of computing, which shows what the
engine itself allows however few cores there are, and `features` of real videos, which the machine's cores
bound. Every node is a `ray start` of its own, beside a head that takes no work. Shards per second count from
the commit of as many shards as there are nodes to the last commit; the start of the pools is told apart.
Efficiency is speed over nodes times the speed of one node. CPU seconds of workers and decoders over
wall-clock seconds say how many cores the work itself kept busy.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"  # before numpy is imported, here and in every process started from here

from benchmarks.features_run import make_corpus, settings  # noqa: E402
from benchmarks.measuring import Figure, machine, parser, show  # noqa: E402
from benchmarks.overlap import make_chain  # noqa: E402
from cluster.chain import Chain, Task  # noqa: E402

if TYPE_CHECKING:
    from tests.cluster.nodes import Nodes

WAIT_S = 0.5
FRAMES, VIDEOS_PER_SHARD = 60, 3
BUSY = 0.8
"""Of the machine's cores: from here on they are what bounds a run."""


@dataclass(frozen=True)
class Speed:
    """One run.

    Attributes:
        rate: shards per second in steady state.
        first: seconds from the start to the first commit.
        cores: CPU seconds of the work per wall-clock second in steady state.
    """

    rate: float
    first: float
    cores: float


class Commits:
    """When each shard of an artifact was committed; receipts come a little later."""

    def __init__(self, folder: Path) -> None:
        self._folder, self.times = folder, list[float]()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        while not self._ended.wait(0.01):
            self._count()

    def _count(self) -> None:
        there = sum(not path.name.startswith(".") for path in self._folder.glob("*"))
        self.times += [time.perf_counter()] * (there - len(self.times))

    def close(self) -> None:
        self._ended.set()
        self._thread.join()
        self._count()


def measure(chain: Chain, tasks: Sequence[Task], workers: int, address: str) -> Speed:
    """One run of ``tasks`` with a worker per node."""
    from cluster.on_ray import RayRunner

    last = len(chain) - 1
    began, commits, cpu = time.perf_counter(), Commits(chain[last].artifact.root / "manifest"), list[float]()
    with contextlib.closing(commits), contextlib.closing(RayRunner(workers, address=address)) as runner:
        for receipt in runner.run(chain, tasks, "benchmark"):
            assert not receipt.error and not receipt.rejected, receipt
            cpu += [receipt.cpu] if receipt.level == last else []
    times, counted = commits.times, len(commits.times) - workers
    assert counted > 0 and len(cpu) == len(times), (len(cpu), len(times))
    wall = times[-1] - times[workers - 1]
    return Speed(counted / wall, times[0] - began, sum(cpu) / len(cpu) * counted / wall)


def waiting(nodes: Nodes, workers: int, shards: int, _: Path) -> Speed:
    """A stage that waits `WAIT_S` seconds per shard."""
    with tempfile.TemporaryDirectory(prefix="tubeflow-benchmark-") as store:
        chain = make_chain(Path(store), {"waiting": WAIT_S})
        tasks = [Task(0, f"{n:06d}", items=[{"uri": f"v{n}"}], count=1) for n in range(shards)]
        return measure(chain, tasks, workers, nodes.address)


def computing(nodes: Nodes, workers: int, shards: int, corpus: Path) -> Speed:
    """`features` of a few short videos per shard, decoded and averaged."""
    from configs.compose import compose
    from pipelines.graph import build
    from pipelines.planning import Options, make_plan

    with tempfile.TemporaryDirectory(prefix="tubeflow-benchmark-") as store:
        layout = f"layout.shard_videos={VIDEOS_PER_SHARD}"
        graph = build(compose("features", [], [*settings(corpus, Path(store), "patchstats", "auto"), layout]))
        plan = make_plan(graph, Options(), record=True)
        assert len(plan.tasks) == shards
        return measure(graph.chain, plan.tasks, workers, nodes.address)


WORK = {f"a stage that waits {WAIT_S:g} s per shard": waiting, "features, decoding and computing": computing}


def figures_of(name: str, found: dict[int, Speed]) -> list[Figure]:
    """Speed, efficiency and bound of one kind of work, by number of nodes."""
    one, cores = found[min(found)], os.cpu_count() or 1
    figures = []
    for nodes, speed in found.items():
        efficiency = speed.rate / one.rate / (nodes / min(found))
        bound = f"{speed.cores:.2f} of {cores} cores busy with the work"
        if speed.cores > BUSY * min(cores, nodes):
            most = min(1.0, cores / nodes)
            bound += f": bound by the cores, efficiency can be {most:.2f} at most"
        figures += [
            Figure(
                f"{name}: {nodes} node{'s' * (nodes > 1)}",
                f"{speed.rate:.2f} shards/s, efficiency {efficiency:.2f}",
            ),
            Figure("    what bounds it", f"{bound}; first shard after {speed.first:.1f} s"),
        ]
    return figures


def main() -> int:
    arguments = parser(__doc__)
    arguments.add_argument("--nodes", type=int, nargs="+", default=[1, 2, 4])
    arguments.add_argument("--shards", type=int, default=40)
    args = arguments.parse_args()
    from tests.cluster.nodes import started_nodes

    about = {
        "machine": machine(),
        "work": f"{args.shards} shards; features: of {VIDEOS_PER_SHARD} videos of {FRAMES} frames at 360x640",
    }
    found: dict[str, dict[int, Speed]] = {name: {} for name in WORK}
    with tempfile.TemporaryDirectory(prefix="tubeflow-benchmark-") as folder, started_nodes() as nodes:
        corpus = Path(folder)
        make_corpus(corpus, args.shards * VIDEOS_PER_SHARD, FRAMES)
        os.environ |= {name: value for name, value in nodes.env.items() if name.startswith("RAY_")}
        for count in sorted(args.nodes):
            while len(nodes.workers) < count:
                nodes.add(cpus=1)
            for name, work in WORK.items():
                found[name][count] = work(nodes, count, args.shards, corpus)
    figures = [figure for name, speeds in found.items() for figure in figures_of(name, speeds)]
    show("scaling over Ray nodes on one machine", figures, about, args.write)
    return 0


if __name__ == "__main__":
    sys.exit(main())
