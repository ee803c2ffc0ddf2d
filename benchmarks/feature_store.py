"""What five consecutive frames cost: bytes read over bytes needed, and time over a raw `pread`.

    python benchmarks/feature_store.py [--json] [--videos N] [--frames N] [--tokens N] [--dim N] [--clips N]

Writes a store of synthetic fp16 features into a temporary folder (default: 1,000 videos of 8 frames of 64 x 768
values, 98,304 bytes a frame, 0.8 GB in all), reads clips of 5 frames at random places, and removes it. Each
clip is read twice in a row, by `FeatureStore.clip` and by one `os.pread` of the same range on an open file, in
turns first and second, so that both find the page cache in the same state. Ratios are medians over the clips.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
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
    entry = store._entry(video)
    offsets, stream = entry.offsets(0), entry.streams[0]
    array = int(np.prod(stream.shape)) * np.dtype(stream.dtype).itemsize
    begin, end = offsets[start] + stream.size - array, offsets[start + CLIP - 1] + stream.size
    return entry.shard, begin, end - begin


def measure(folder: Path, args: argparse.Namespace) -> dict[str, float]:
    store = FeatureStore(folder)
    random = np.random.default_rng(1)
    picks = [store.videos[int(v)] for v in random.integers(len(store), size=args.clips)]
    starts = random.integers(args.frames - CLIP + 1, size=args.clips).tolist()
    places = [ranges(store, v, s) for v, s in zip(picks, starts, strict=True)]
    files = {name: os.open(folder / name, os.O_RDONLY) for name in {p[0] for p in places}}
    for name, begin, size in places:  # the page cache warm, the allocator settled, the store's files open
        os.pread(files[name], size, begin)
    for video, start in zip(picks[:200], starts[:200], strict=True):
        store.clip(video, range(start, start + CLIP))
    store.gauge.reset()
    ours, raw = [], []
    for i, (video, start, (name, begin, size)) in enumerate(zip(picks, starts, places, strict=True)):
        fd = files[name]
        for which in (("ours", "raw"), ("raw", "ours"))[i % 2]:
            t = time.perf_counter_ns()
            if which == "ours":
                clip = store.clip(video, range(start, start + CLIP))
                ours.append(time.perf_counter_ns() - t)
            else:
                data = os.pread(fd, size, begin)
                raw.append(time.perf_counter_ns() - t)
        assert bytes(clip[0].numpy().data.cast("B")) == data[: clip[0].nbytes]
        del clip, data
    for fd in files.values():
        os.close(fd)
    return {
        "videos": len(store),
        "frame_bytes": args.tokens * args.dim * 2,
        "clips": args.clips,
        "bytes_ratio": round(store.gauge.ratio, 5),
        "time_ratio": round(statistics.median(ours) / statistics.median(raw), 3),
        "clip_us": round(statistics.median(ours) / 1000, 1),
        "pread_us": round(statistics.median(raw) / 1000, 1),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (("videos", 1000), ("frames", 8), ("tokens", 64), ("dim", 768), ("clips", 2000)):
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
            print(f"{name:12} {value}{target}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
