"""A whole `features` run in steady state over a bare loop with the same decoder, model and threads.

    python benchmarks/features_run.py [--runner local|ray] [--model resnet18|patchstats]
                                      [--decoder auto|pyav] [--workers N] [--cores N]
                                      [--videos N] [--frames N] [--repeat N] [--write]

**Corpus**: real H.264 files of 640x360, ``--videos`` of ``--frames`` frames (25 per second), all of them
sampled, ten videos to a shard. **Run**: the catalog and features stages through the project's own runner,
into an empty store, in this process (local) or on a local Ray started from it. The clock runs from the
commit of as many feature shards as there are workers to that of the last: start-up of processes, Ray and
models is over by then; probing, decoder children, tar writing, checksums, fsync and commits of the shards
that follow are in it. **Bare loops**: in as many processes as the run has workers; decode, resize,
batches of the same size through the same backbone, results dropped. Two of them: *decoder in process* is
the project's decoder (with its proof of every frame) without the child process; *plain library* is decord
(which ``auto`` prefers) or PyAV, called as their manuals say, nothing proven.

**Fairness**: everything, children and Ray's own processes included, is bound to ``--cores`` cores
(default: as many as workers) and to one thread each, so that a decoder child beside its parent is no
extra core; with more cores than workers the run may decode beside the model, which the bare loop can't.
Each run stands between two bare loops of each kind; a ratio is the run over the mean of the two, and the
median over ``--repeat`` runs is held against the target. On a machine that others use, more processes get
a larger share of the core, so CPU seconds per frame, over all processes of the run, are given as well.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"  # before numpy is imported, here and in every process started from here

import numpy as np  # noqa: E402
import psutil  # noqa: E402

from benchmarks.measuring import Figure, machine, parser, show  # noqa: E402

if TYPE_CHECKING:
    from pipelines.running import Runner

TARGETS = {"local": 0.9, "ray": 0.85}
MODELS = {
    "resnet18": ["backbone.name=resnet18", "backbone.weights=random", "decode.size=[160,160]"],
    "patchstats": ["backbone.name=patchstats", "decode.size=128"],
}
PER_SHARD = 10
HEIGHT, WIDTH, FPS = 360, 640, 25
DISTINCT = 8
PATIENCE_S = 600


@dataclass(frozen=True)
class Speed:
    """Frames per wall-clock second, CPU seconds per frame, and the share of decoding (bare loops only)."""

    fps: float
    cpu: float
    decoding: float = 0.0


def make_corpus(folder: Path, videos: int, frames: int) -> None:
    from tests.media import make_video

    for number in range(videos):
        path = folder / f"clip_{number:03d}.mp4"
        if number < DISTINCT:
            make_video(path, frames, (HEIGHT, WIDTH), FPS, seed=number)
        else:
            shutil.copyfile(folder / f"clip_{number % DISTINCT:03d}.mp4", path)


def settings(folder: Path, store: Path, model: str, decoder: str) -> list[str]:
    return [
        f"data.root={folder}", f"store={store}", "decode.fps=all", f"decode.decoder={decoder}",
        f"layout.shard_videos={PER_SHARD}", "run.device=cpu", *MODELS[model],
    ]  # fmt: skip


def features_stage(model: str, decoder: str):
    from configs.compose import compose
    from pipelines.builders import features_stage as stage_of

    return stage_of(compose("features", [], settings(Path("."), Path("."), model, decoder)))


def cpu_seconds() -> dict[int, float]:
    """CPU seconds so far of this process and all below it, by process id."""
    found = {}
    me = psutil.Process()
    for process in [me, *me.children(recursive=True)]:
        try:
            times = process.cpu_times()
        except psutil.Error:
            continue
        found[process.pid] = times.user + times.system
    return found


def spent(before: dict[int, float], after: dict[int, float]) -> float:
    """CPU seconds between two looks; a process that ended in between counts with what was seen of it."""
    return sum(seconds - before.get(pid, 0.0) for pid, seconds in after.items())


class Watch:
    """Wall-clock and CPU seconds at the commit of each feature shard, from its manifest's appearance.

    Receipts would be too late: Ray Data hands one over when the next one is there.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ended = threading.Event()
        self.commits: list[tuple[float, dict[int, float]]] = []
        self._thread = threading.Thread(target=self._look)
        self._thread.start()

    def _look(self) -> None:
        while not self._ended.wait(0.05):
            now = sum(not path.name.startswith(".") for path in self._folder.iterdir())
            if now > len(self.commits):
                self.commits += [(time.perf_counter(), cpu_seconds())] * (now - len(self.commits))

    def close(self) -> None:
        time.sleep(0.2)
        self._ended.set()
        self._thread.join()


def run(folder: Path, model: str, decoder: str, runner: Runner, workers: int) -> Speed:
    """The whole run into an empty store, measured from the commits of the first shards on."""
    from configs.compose import compose
    from pipelines.graph import build
    from pipelines.planning import Options, make_plan
    from pipelines.running import raise_error

    with tempfile.TemporaryDirectory(prefix="tubeflow-benchmark-") as store:
        graph = build(compose("features", [], settings(folder, Path(store), model, decoder)))
        plan = make_plan(graph, Options(), record=True)
        watch = Watch(graph.chain[1].artifact.root / "manifest")
        frames = []
        try:
            for receipt in runner.run(graph.chain, plan.tasks, "benchmark"):
                raise_error(receipt)
                assert not receipt.rejected, receipt
                frames += [receipt.frames] * receipt.level
        finally:
            watch.close()
    assert len(set(frames)) == 1 and len(frames) == len(watch.commits) > workers + 1, (frames, watch.commits)
    (begun, before), (ended, _) = watch.commits[workers - 1], watch.commits[-1]
    after = watch.commits[-2][1]  # the last commit may be seen when the decoder children are gone
    timed = frames[0] * (len(frames) - workers)
    return Speed(timed / (ended - begun), spent(before, after) / (timed - frames[0]))


def make_runner(name: str, workers: int) -> Runner:
    if name == "local":
        from cluster.local import LocalRunner

        return LocalRunner(workers)
    from cluster.on_ray import RayRunner

    return RayRunner(workers)


def in_process(paths: list[str], stage) -> Iterator[np.ndarray]:
    """Batches from the project's decoder, without its child process."""
    from stages.decode.source import Source
    from stages.decode.spec import DecodeRequest

    for path in paths:
        source = Source(path, stage.decode.decoder, None, lambda: None)
        request = DecodeRequest(
            path, path, spec=stage.decode, geometry=stage.frame_geometry(), chunk=stage.backbone.batch
        )
        for chunk in source.chunks(request):
            yield chunk.rgb
        source.decoder.close()


def plain_library(paths: list[str], stage) -> Iterator[np.ndarray]:
    """Batches from decord (which ``auto`` prefers) or PyAV as their manuals say, resized with Pillow."""
    from PIL import Image

    frames = decord_frames if stage.decode.decoder == "auto" else pyav_frames
    height, width = stage.frame_geometry().resolve(HEIGHT, WIDTH)
    for path in paths:
        batch = []
        for rgb in frames(path):
            image = Image.fromarray(rgb).resize((width, height), Image.Resampling.BILINEAR)
            batch.append(np.asarray(image))
            if len(batch) == stage.backbone.batch:
                yield np.stack(batch)
                batch = []
        if batch:
            yield np.stack(batch)


def decord_frames(path: str) -> Iterator[np.ndarray]:
    import decord

    reader = decord.VideoReader(path, num_threads=1)
    for _ in range(len(reader)):
        yield reader.next().asnumpy()


def pyav_frames(path: str) -> Iterator[np.ndarray]:
    import av

    with av.open(path) as container:
        container.streams.video[0].codec_context.thread_count = 1
        for frame in container.decode(video=0):
            yield frame.to_ndarray(format="rgb24")


LOOPS = {"decoder in process": in_process, "plain library": plain_library}


def bare_worker(model: str, decoder: str, orders, answers) -> None:
    """One process of the bare loops: weights loaded once, then (loop, paths) in and times out."""
    from stages.features.backbones.base import build

    stage = features_stage(model, decoder)
    backbone = build(stage.backbone, "cpu", 1)
    while (order := orders.get()) is not None:
        loop, paths = order
        frames, inside = 0, 0.0
        began, cpu, previous = time.perf_counter(), time.process_time(), None
        for rgb in LOOPS[loop](paths, stage):
            t = time.perf_counter()
            backbone.extract(rgb, previous)
            inside += time.perf_counter() - t
            previous = rgb[-1]
            frames += len(rgb)
        answers.put((frames, time.perf_counter() - began, time.process_time() - cpu, inside))


class Bare:
    """The bare loops, in as many processes as the run has workers."""

    def __init__(self, model: str, decoder: str, workers: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._answers = context.Queue()
        self._orders = [context.Queue() for _ in range(workers)]
        for orders in self._orders:
            context.Process(
                target=bare_worker, args=(model, decoder, orders, self._answers), daemon=True
            ).start()

    def speed(self, loop: str, paths: list[str]) -> Speed:
        for number, orders in enumerate(self._orders):
            orders.put((loop, paths[number :: len(self._orders)]))
        answers = [self._answers.get(timeout=PATIENCE_S) for _ in self._orders]
        frames = sum(a[0] for a in answers)
        fps = sum(a[0] / a[1] for a in answers)
        share = 1 - sum(a[3] for a in answers) / sum(a[1] for a in answers)
        return Speed(fps, sum(a[2] for a in answers) / frames, share)

    def close(self) -> None:
        for orders in self._orders:
            orders.put(None)


def measure(folder: Path, args) -> dict[str, list]:
    """Runs between bare loops: speeds of the runs, and for each loop the pair of speeds around each run."""
    # the corpus of the bare loops is the shards that are timed in the run
    paths = sorted(str(path) for path in folder.iterdir())[PER_SHARD * args.workers :]
    bare = Bare(args.model, args.decoder, args.workers)
    for loop in LOOPS:
        bare.speed(loop, paths[: 2 * args.workers])
    before = {loop: bare.speed(loop, paths) for loop in LOOPS}
    found: dict[str, list] = {"run": [], **{loop: [] for loop in LOOPS}}
    for _ in range(args.repeat):
        runner = make_runner(args.runner, args.workers)
        found["run"].append(run(folder, args.model, args.decoder, runner, args.workers))
        after = {loop: bare.speed(loop, paths) for loop in LOOPS}
        for loop in LOOPS:
            found[loop].append((before[loop], after[loop]))
        before = after
    bare.close()
    return found


def summarise(found: dict[str, list], args) -> list[Figure]:
    figures = [Figure("run, frames/s", listed([speed.fps for speed in found["run"]]))]
    for loop in LOOPS:
        pairs = found[loop]
        fps = [(a.fps + b.fps) / 2 for a, b in pairs]
        cpu = [(a.cpu + b.cpu) / 2 for a, b in pairs]
        ratios = [r.fps / f for r, f in zip(found["run"], fps, strict=True)]
        cpus = [c / r.cpu for r, c in zip(found["run"], cpu, strict=True)]
        target = TARGETS[args.runner]
        median = statistics.median(ratios)
        figures += [
            Figure(f"bare loop, {loop}, frames/s", listed(fps)),
            Figure(
                f"run / bare, {loop}",
                f"{median:.3f} of {listed(ratios, 3)}",
                f">= {target}",
                median >= target,
            ),
            Figure(f"the same in CPU seconds per frame, {loop}", f"{statistics.median(cpus):.3f}"),
        ]
    share = statistics.median([a.decoding for a, _ in found["decoder in process"]])
    bound = "decoding" if share > 0.5 else "the model"
    return [*figures, Figure("share of decoding in the bare loop", f"{share:.2f}: {bound} bounds the run")]


def listed(values: list[float], digits: int = 1) -> str:
    return ", ".join(f"{value:.{digits}f}" for value in values)


def main() -> int:
    arguments = parser(__doc__)
    arguments.add_argument("--runner", choices=TARGETS, default="local")
    arguments.add_argument("--model", choices=MODELS, default="resnet18")
    arguments.add_argument("--decoder", choices=("auto", "pyav"), default="auto")
    for name, default in (("workers", 1), ("cores", 0), ("videos", 30), ("frames", 100), ("repeat", 3)):
        arguments.add_argument(f"--{name}", type=int, default=default)
    args = arguments.parse_args()
    about = {"machine": machine()}
    cores = sorted(os.sched_getaffinity(0))[: args.cores or args.workers]
    os.sched_setaffinity(0, cores)
    with tempfile.TemporaryDirectory(prefix="tubeflow-benchmark-") as folder:
        make_corpus(Path(folder), args.videos, args.frames)
        timed = (args.videos - PER_SHARD * args.workers) * args.frames
        found = measure(Path(folder), args)
    about["timed"] = f"{timed:,} frames of {HEIGHT}x{WIDTH}, {args.workers} worker(s) on {len(cores)} core(s)"
    show(
        f"features run, {args.runner}, {args.model}, decoder {args.decoder}",
        summarise(found, args),
        about,
        args.write,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
