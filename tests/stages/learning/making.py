"""A training small enough for tests: SOLV on a real feature store, and a child process that can be killed."""

import json
import sys
from pathlib import Path

import torch

from stages.discovery.contract import FeatureShape
from stages.discovery.solv import SolvMethod
from stages.features.store.reader import FeatureStore
from stages.features.store.samplers import ClipSampler
from stages.learning import loop
from stages.learning.data import ClipLoader
from stages.learning.spec import TrainSpec
from tests.stages.features.store.making import make_store

SHAPE = FeatureShape(2, 3, 8)
METHOD = SolvMethod(
    slots=3,
    slot_width=8,
    temporal_heads=2,
    temporal_layers=1,
    hidden=8,
    decoder=(8,),
    frames=3,
    merge_threshold=0.5,
)


def store_in(folder: Path, videos: int = 4, frames: int = 5) -> FeatureStore:
    root = folder / "features"
    make_store(root, [{f"v{i}": frames for i in range(videos)}])
    return FeatureStore(root)


def task(store, spec, method=METHOD, identity="{}"):
    torch.manual_seed(spec.seed)
    implementation = method.implement()
    model = implementation.model("solv", SHAPE, {})

    def loader(seen):
        sampler = ClipSampler(store, method.clips("solv"), spec.seed)
        return ClipLoader(store, sampler, method.streams, SHAPE, spec.batch, seen)

    clips = len(ClipSampler(store, method.clips("solv"), spec.seed))
    optimiser = implementation.optimiser("solv", model, spec.rate)
    schedule = lambda step, steps: implementation.schedule("solv", step, steps)  # noqa: E731
    return loop.Task("solv", model, optimiser, schedule, loader, clips, identity)


def weights(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def main():
    """Train in this process, with a checkpoint after every step; told what by JSON on the command line."""
    torch.set_num_threads(1)
    store, checkpoints, steps = json.loads(sys.argv[1])
    work = task(FeatureStore(store), TrainSpec(steps=steps, batch=4))
    loop.train(work, TrainSpec(steps=steps, batch=4), loop.Place(Path(checkpoints), every_s=0.0))


if __name__ == "__main__":
    main()
