"""`features` with decoders on another node (`decode.placement=remote`) over decoders beside the model.

    python benchmarks/placement.py [--models patchstats resnet18] [--videos N] [--frames N]
                                   [--rounds N] [--write]

Corpus, settings and what is timed are those of `features_run.py`: 640x360 H.264, every frame, from the first
commit of a feature shard to the last. Two Ray nodes on this machine, one with a CPU and a GPU in name (the
model computes on the CPU) and one with a CPU to decode, so that there is one owner and one decoder either
way. Fused, the decoder is a child of the owner and frames go through a socket; remote, they go through the
object stores of both nodes. The network between machines is missing here: what is measured is what remote
decoding costs in computing, at best, and where the decoder gains no core by being elsewhere.

A round is one run of each, in turns first; a ratio is of the two runs of a round, and the median over
``--rounds`` is given. CPU seconds per frame are of all processes, Ray's own included. The object stores are
looked at every 20 ms, in figures that the nodes send a few times a second, so a peak may be missed.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"  # before numpy is imported, here and in every process started from here

from benchmarks.features_run import (  # noqa: E402
    MODELS,
    PER_SHARD,
    Speed,
    features_stage,
    listed,
    make_corpus,
    run,
)
from benchmarks.measuring import Figure, machine, parser, show  # noqa: E402

DECODERS = {"fused": None, "remote": 1}
"""By placement, what `RayRunner` is asked for."""


@dataclass(frozen=True)
class Found:
    """One run: its speed, and the most bytes seen in all object stores beyond those before it."""

    speed: Speed
    stored: float


class Stores:
    """The most bytes in the object stores of all nodes meanwhile, beyond those at the start."""

    def __init__(self) -> None:
        from cluster.ray_setup import ray

        self._ray, self._ended = ray, threading.Event()
        self._before, self.most = self._held(), 0.0
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _held(self) -> float:
        has, free = self._ray.cluster_resources(), self._ray.available_resources()
        return has["object_store_memory"] - free["object_store_memory"]

    def _look(self) -> None:
        while not self._ended.wait(0.02):
            self.most = max(self.most, self._held() - self._before)

    def close(self) -> None:
        self._ended.set()
        self._thread.join()


def measure(corpus: Path, model: str, placement: str) -> Found:
    """One run on the cluster that this process has joined."""
    from cluster.on_ray import RayRunner

    stores = Stores()
    try:
        speed = run(corpus, model, "auto", RayRunner(1, 1.0, decoders=DECODERS[placement]), 1)
    finally:
        stores.close()
    return Found(speed, stores.most)


def figures_of(model: str, rounds: list[dict[str, Found]]) -> list[Figure]:
    """Speeds and costs of both placements, and remote over fused, round by round."""
    figures = []
    for placement in DECODERS:
        found = [one[placement] for one in rounds]
        cpu = statistics.median(one.speed.cpu for one in found)
        most = max(one.stored for one in found)
        figures += [
            Figure(f"{model}, {placement}, frames/s", listed([one.speed.fps for one in found])),
            Figure(f"{model}, {placement}, CPU ms per frame", f"{1000 * cpu:.2f}"),
            Figure(f"{model}, {placement}, most in the object stores, MB", f"{most / 1e6:.1f}"),
        ]
    wall = [one["fused"].speed.fps / one["remote"].speed.fps for one in rounds]
    cpus = [one["remote"].speed.cpu / one["fused"].speed.cpu for one in rounds]
    for name, ratios in (("wall clock", wall), ("CPU per frame", cpus)):
        value = f"{statistics.median(ratios):.3f} of {listed(ratios, 3)}"
        figures.append(Figure(f"{model}, remote / fused in {name}", value))
    return figures


def chunk_megabytes(model: str) -> float:
    """Size of a chunk of frames, as one travels."""
    from benchmarks.features_run import HEIGHT, WIDTH

    stage = features_stage(model, "auto")
    height, width = stage.frame_geometry().resolve(HEIGHT, WIDTH)
    return stage.backbone.batch * height * width * 3 / 1e6


def main() -> int:
    arguments = parser(__doc__)
    arguments.add_argument("--models", choices=MODELS, nargs="+", default=["patchstats", "resnet18"])
    for name, default in (("videos", 40), ("frames", 100), ("rounds", 3)):
        arguments.add_argument(f"--{name}", type=int, default=default)
    args = arguments.parse_args()
    from cluster.ray_setup import connected
    from tests.cluster.nodes import started_nodes

    timed = (args.videos - PER_SHARD) * args.frames
    about = {
        "machine": machine(),
        "timed": f"{timed:,} frames of 360x640 a run, 1 owner and 1 decoder",
        "a chunk": ", ".join(f"{model} {chunk_megabytes(model):.2f} MB" for model in args.models),
    }
    figures = []
    with tempfile.TemporaryDirectory(prefix="tubeflow-benchmark-") as folder, started_nodes() as nodes:
        make_corpus(Path(folder), args.videos, args.frames)
        os.environ |= {name: value for name, value in nodes.env.items() if name.startswith("RAY_")}
        nodes.add(cpus=1, gpus=1)
        nodes.add(cpus=1, resources='{"decode": 1}')
        with connected(nodes.address, 1):
            for model in args.models:
                rounds = []
                for number in range(args.rounds):
                    order = list(DECODERS)[:: -1 if number % 2 else 1]
                    found = {placement: measure(Path(folder), model, placement) for placement in order}
                    rounds.append(found)
                figures += figures_of(model, rounds)
    show("features, decoded on another node over beside the model", figures, about, args.write)
    return 0


if __name__ == "__main__":
    sys.exit(main())
