"""What five consecutive frames cost: bytes read over bytes needed, and time over a raw `pread`.

    python benchmarks/feature_store.py [--json] [--videos N] [--frames N] [--tokens N] [--dim N] [--clips N]

Writes a store of synthetic fp16 features into a temporary folder (default: 1,000 videos of 6 frames of
256 x 384 values, 196,608 bytes a frame, the smallest that any of the published methods reads; 1.2 GB in all)
and removes it at the end. Clips of 5 frames at random places are read by `FeatureStore.clip` in one pass and
by one `os.pread` of the same range of an open file in another, in turns, with the page cache warm. A time is
the median over the clips of a pass, the ratio that of the two passes of a round; the middle one is reported.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch

from stages.artifacts import layout
from stages.artifacts.commit import commit
from stages.features.store.reader import FeatureStore
from stages.features.store.writer import FeatureShardWriter
from stages.outcome import Done

CLIP = 5
VIDEOS_PER_SHARD = 64
TARGETS = {"bytes_ratio": 1.01, "time_ratio": 1.3}


def write_store(folder: Path, args: argparse.Namespace) -> None:
    artifact = layout.Artifact(folder, "features", ".tar")
    layout.start(artifact, {"kind": "features", "name": "benchmark"}, layout.ShardLayout())
    random = np.random.default_rng(0)
    base = random.standard_normal((args.tokens, args.dim)).astype(np.float16)
    for number, first in enumerate(range(0, args.videos, VIDEOS_PER_SHARD)):
        shard = f"{number:06d}"
        writer = FeatureShardWriter(artifact.root / "shards" / f".{shard}.tmp", shard)
        outcomes = []
        for v in range(first, min(first + VIDEOS_PER_SHARD, args.videos)):
            video = f"video-{v:07d}"
            for frame in range(args.frames):
                writer.add(video, frame, frame / 5, "tokens", np.roll(base, 17 * v + frame, 1))
            writer.keep(video)
            outcomes.append(Done(video, {"frames": args.frames}))
        commit(artifact, shard, writer.finish(), outcomes)


def ranges(store: FeatureStore, video: str, start: int) -> tuple[str, int, int]:
    """The file and the range that hold the clip, looked up beforehand: the raw read is not charged for it."""
    series = store._series(video, "base", "tokens")
    begin, end = (
        series.offsets[start] + series.head,
        series.offsets[start + CLIP - 1] + series.head + series.step,
    )
    return series.shard, begin, end - begin


def timed(read: Callable[[int], object], clips: int) -> float:
    """Median microseconds of one read, over a pass of ``clips``."""
    times = []
    for i in range(clips):
        start = time.perf_counter_ns()
        read(i)
        times.append(time.perf_counter_ns() - start)
    return statistics.median(times) / 1000


def measure(folder: Path, args: argparse.Namespace) -> dict[str, float]:
    store = FeatureStore(folder)
    random = np.random.default_rng(1)
    picks = [store.videos[int(v)] for v in random.integers(len(store), size=args.clips)]
    starts = random.integers(args.frames - CLIP + 1, size=args.clips).tolist()
    places = [ranges(store, v, s) for v, s in zip(picks, starts, strict=True)]
    files = {name: os.open(folder / name, os.O_RDONLY) for name in {p[0] for p in places}}

    def ours(i: int) -> torch.Tensor:
        return store.clip(picks[i], range(starts[i], starts[i] + CLIP))

    def raw(i: int) -> bytes:
        name, begin, size = places[i]
        return os.pread(files[name], size, begin)

    for i in range(args.clips):  # both warm, and reading the same
        assert raw(i).startswith(ours(i)[0].numpy().data.cast("B"))
    store.gauge.reset()
    rounds = []
    for _ in range(args.rounds):
        rounds.append((timed(raw, args.clips), timed(ours, args.clips)))
    for fd in files.values():
        os.close(fd)
    ratios = [mine / plain for plain, mine in rounds]
    return {
        "videos": len(store),
        "frame_bytes": args.tokens * args.dim * 2,
        "clips": args.clips,
        "bytes_ratio": round(store.gauge.ratio, 5),
        "time_ratio": round(statistics.median(ratios), 3),
        "time_ratio_worst_round": round(max(ratios), 3),
        "clip_us": round(statistics.median(mine for _, mine in rounds), 1),
        "pread_us": round(statistics.median(plain for plain, _ in rounds), 1),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    defaults = {"videos": 1000, "frames": 6, "tokens": 256, "dim": 384, "clips": 2000, "rounds": 5}
    for name, default in defaults.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="tubeflow-benchmark-") as folder:
        write_store(Path(folder), args)
        result = measure(Path(folder), args)
    if args.json:
        print(json.dumps(result))
    else:
        for name, value in result.items():
            target = f"   (target: at most {TARGETS[name]})" if name in TARGETS else ""
            print(f"{name:22} {value}{target}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
