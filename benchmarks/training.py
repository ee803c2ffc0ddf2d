"""Training SOLV at published sizes against the direct formulation, and waiting for data in a real training.

    python benchmarks/training.py [--part all|binding|step|waiting] [--windows B] [--rounds R] [--write]

24 x 36 patch tokens of 768 channels, half of them kept, 8 slots of 128 channels, a decoder of four layers of
1024. Both formulations (`benchmarks/direct_solv.py` is the other) have the same weights and inputs; rounds
alternate between them, and figures are medians and ratios of these rounds. Where there is a GPU the same runs
there, also under bfloat16.

==========  ==================================================================================
binding     invariant slot attention, forward and backward: time, bytes saved for backward,
            and the largest relative difference of results and gradients in float64 (in
            float32 a ReLU whose input rounds to the other side of 0 shows in a gradient)
step        a whole training step on windows of 5 frames: forward, backward, clipping, Adam.
            What slots merge to is given, so that 5 of 8 are active on average, or all.
            The difference is that of the loss and of all gradients, in float64
waiting     the share of the steps' time that was spent waiting for the next batch: in the
            quickstart by the command line, as its model's facts say, and in the training
            loop on a store of random features at published sizes
==========  ==================================================================================
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from torch import Tensor, nn

from benchmarks.direct_solv import direct
from benchmarks.feature_store import write_store
from benchmarks.measuring import RUN, Figure, child, machine, parser, show
from stages.discovery.blocks.invariant import InvariantSlotAttention
from stages.discovery.contract import Batch, FeatureShape, Progress
from stages.discovery.solv import SolvMethod
from stages.discovery.solv_model import SolvModel
from stages.features.store.reader import FeatureStore
from stages.features.store.samplers import ClipSampler
from stages.learning import loop
from stages.learning.checkpoint import State
from stages.learning.data import ClipLoader
from stages.learning.schedules import warmup_exponential
from stages.learning.spec import TrainSpec
from stages.merging.slots import Merged, assign, merge

SHAPE, KEPT, SLOTS, WIDTH, FRAMES = FeatureShape(24, 36, 768), 432, 8, 128, 5
WAITING = 0.05
ROUNDING = 1e-9
"""Relative, in float64: float64's own 1e-16 times what a small scale multiplies coordinates and errors by."""


class GivenMerge(SolvModel):
    """Clusters as always, then groups the slots of sample i to ``counts[i]`` whatever was found."""

    counts: tuple[int, ...] = ()

    def _merge(self, slots: Tensor, attention: Tensor, skip: Tensor | None) -> Merged:
        assign(slots, self.method.merge_threshold, self.method.min_clusters)
        counts = torch.tensor(self.counts, device=slots.device)
        return merge(slots, attention, torch.arange(slots.shape[1], device=slots.device) % counts[:, None])


class Binding:
    """Slot attention on frames of random tokens, with random gradients of its results."""

    def __init__(self, frames: int, device: str, dtype: torch.dtype = torch.float32) -> None:
        draws = torch.Generator().manual_seed(0)
        self.tokens = torch.randn(frames, KEPT, WIDTH, generator=draws).to(device, dtype)
        order = torch.rand(frames, SHAPE.tokens, generator=draws).argsort(dim=1)
        self.kept = order[:, :KEPT].sort(dim=1).values.to(device)
        self.pulls = [
            torch.randn(frames, SLOTS, n, generator=draws).to(device, dtype) for n in (WIDTH, KEPT, KEPT)
        ]

    def run(self, block: nn.Module) -> list[Tensor]:
        """Results, then the gradients of tokens and parameters."""
        block.zero_grad()
        tokens = self.tokens.clone().requires_grad_()
        found = block(tokens, self.kept)
        torch.autograd.backward(found, [pull.to(part) for pull, part in zip(self.pulls, found, strict=True)])
        gradients = [tokens.grad, *(p.grad for p in block.parameters())]
        return [part.detach() for part in (*found, *gradients)]

    def saved(self, block: nn.Module) -> int:
        """Bytes that the forward pass saves for the backward pass, parameters and inputs left out."""
        known = {part.data_ptr() for part in (*block.parameters(), self.tokens, self.kept)}
        storages: dict[int, int] = {}

        def keep(part: Tensor) -> Tensor:
            storage = part.untyped_storage()
            if storage.data_ptr() not in known:
                storages[storage.data_ptr()] = storage.nbytes()
            return part

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda part: part):
            block(self.tokens, self.kept)
        return sum(storages.values())


class Step:
    """A training step as `stages.learning.loop` makes it, on windows of random features."""

    def __init__(self, model: SolvModel, windows: int, device: str, dtype: torch.dtype | None) -> None:
        self.model, self.dtype, self.device = model.train(), dtype, device
        features = torch.randn(windows, FRAMES, SHAPE.tokens, SHAPE.width, generator=_seeded())
        features = features.to(device, next(model.parameters()).dtype)
        available = torch.ones(windows, FRAMES, dtype=torch.bool, device=device)
        self.batch = Batch({("base", "tokens"): features}, available, SHAPE)
        self.optimiser = torch.optim.Adam(model.parameters(), lr=1e-4)

    def run(self) -> float:
        """The loss."""
        torch.manual_seed(0)
        cast = nullcontext() if self.dtype is None else torch.autocast(self.device, self.dtype)
        with cast:
            loss = self.model.training_step(self.batch, Progress(0, 10, 0, 10), _seeded())["loss"]
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimiser.step()
        return loss.item()


def _seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def _alternate(runs: Sequence[Callable[[], object]], rounds: int, device: str) -> list[float]:
    """Median seconds of each, rounds taken in turn; one round first that doesn't count."""
    spent: list[list[float]] = [[] for _ in runs]
    for number in range(rounds + 1):
        for run, times in zip(runs, spent, strict=True):
            _wait(device)
            began = time.perf_counter()
            run()
            _wait(device)
            if number:
                times.append(time.perf_counter() - began)
    return [statistics.median(times) for times in spent]


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def _faster(name: str, ours: float, theirs: float, least: float | None) -> Figure:
    value = f"{theirs / ours:.2f} ({1000 * theirs:.1f} / {1000 * ours:.1f} ms)"
    return Figure(
        name, value, "" if least is None else f">= {least}", least is None or theirs / ours >= least
    )


def _difference(block: nn.Module, other: nn.Module, device: str) -> tuple[float, float]:
    """Largest difference of results and of gradients, each relative to the tensor's largest value."""
    case = Binding(2, device, torch.float64)
    found = [case.run(each.double()) for each in (block, other)]
    return _worst([each[:3] for each in found]), _worst([each[3:] for each in found])


def binding(windows: int, rounds: int, device: str) -> Iterator[Figure]:
    torch.manual_seed(0)
    ours = InvariantSlotAttention(WIDTH, SLOTS, SHAPE.rows, SHAPE.columns).eval().to(device)
    theirs = direct(ours)
    case = Binding(windows * FRAMES, device)
    what = f"binding, {device}"
    times = _alternate([lambda: case.run(ours), lambda: case.run(theirs)], rounds, device)
    yield _faster(f"{what}: direct / ours, eager", *times, 1.8)
    mine, direct_bytes = case.saved(ours), case.saved(theirs)
    value = f"{mine / direct_bytes:.3f} ({mine / 2**20:.0f} / {direct_bytes / 2**20:.0f} MiB)"
    yield Figure(f"{what}: saved bytes, ours / direct", value, "<= 0.5", mine <= direct_bytes / 2)
    if device == "cuda":
        with torch.autocast(device, torch.bfloat16):
            times = _alternate([lambda: case.run(ours), lambda: case.run(theirs)], rounds, device)
        yield _faster(f"{what}, bfloat16: direct / ours, eager", *times, 1.8)
    yield _compiled(case, ours, theirs, rounds, device)
    results, gradients = _difference(ours, theirs, device)
    for name, worst in (("results", results), ("gradients", gradients)):
        name = f"{what}: {name}, largest relative difference"
        yield Figure(name, f"{worst:.1e}", "<= 1e-9", worst <= ROUNDING)


def _compiled(case: Binding, ours: nn.Module, theirs: nn.Module, rounds: int, device: str) -> Figure:
    """Ours through ``torch.compile`` against the direct formulation, eager."""
    name = f"binding, {device}: direct / ours, ours compiled"
    compiled = torch.compile(ours, dynamic=False)
    began = time.perf_counter()
    try:
        case.run(compiled)  # type: ignore[arg-type]
    except (RuntimeError, ImportError) as error:  # no C++ compiler or Triton
        return Figure(name, f"not here: {type(error).__name__}: {str(error).splitlines()[0][:60]}")
    spent = time.perf_counter() - began
    times = _alternate([lambda: case.run(compiled), lambda: case.run(theirs)], rounds, device)  # type: ignore[arg-type]
    figure = _faster(name, *times, None)
    return Figure(name, f"{figure.value}, compiled in {spent:.0f} s")


def step(windows: int, rounds: int, device: str) -> Iterator[Figure]:
    torch.manual_seed(0)
    method = SolvMethod(dropout=0.0)
    for dtype in (None, torch.bfloat16) if device == "cuda" else (None,):
        for counts, least in ((_spread_counts(windows), 1.4), ((SLOTS,) * windows, 1.1)):
            ours = GivenMerge(method, SHAPE).to(device)
            ours.counts = counts
            theirs = direct(ours)
            assert isinstance(theirs, SolvModel)
            runs = [Step(model, windows, device, dtype) for model in (ours, theirs)]
            times = _alternate([run.run for run in runs], rounds, device)
            mean = statistics.mean(counts)
            what = f"step, {device}{'' if dtype is None else ', bfloat16'}, {mean:g} active slots"
            yield _faster(f"{what}: direct / ours", *times, least)
        worst = max(_step_difference(method, counts, device) for counts in ((5,), (SLOTS,)))
    name = f"step, {device}: loss and gradients of the first step, largest relative difference"
    yield Figure(name, f"{worst:.1e}", "<= 1e-9", worst <= ROUNDING)


def _step_difference(method: SolvMethod, counts: tuple[int, ...], device: str) -> float:
    """One window in float64: of the loss, and of every parameter's gradient relative to its largest value."""
    torch.manual_seed(0)
    ours = GivenMerge(method, SHAPE).double()
    ours.counts = counts
    found = []
    for model in (ours, direct(ours)):
        assert isinstance(model, SolvModel)
        step = Step(model.to(device), 1, device, None)
        loss = torch.tensor(step.run())
        found.append([loss, *(p.grad for p in model.parameters() if p.grad is not None)])
    assert len(found[0]) == len(found[1])
    return _worst(found)


def _worst(found: Sequence[Sequence[Tensor]]) -> float:
    """The largest difference of two lists of tensors, each relative to the second's largest value."""
    pairs = zip(*found, strict=True)
    return max(float((a - b).abs().max() / b.abs().max().clamp_min(1e-30)) for a, b in pairs)


def _spread_counts(windows: int) -> tuple[int, ...]:
    """Active slots of each window, 5 on average: 4, 6, 4, 6, ...; the last of an odd number has 5."""
    pairs = (4, 6) * (windows // 2)
    return (*pairs, 5) if windows % 2 else pairs


def waiting(windows: int, device: str) -> Iterator[Figure]:
    """The share of waiting in a run of the quickstart's training, and in the loop at published sizes."""
    with tempfile.TemporaryDirectory() as folder:
        facts, seconds = _quickstart(Path(folder))
        share = facts["waiting_for_data"]
        name = f"waiting for data, quickstart by the command line, {facts['steps']} steps: share"
        value = f"{100 * share:.2f} % of {facts['seconds']:.0f} s (whole run {seconds:.0f} s)"
        yield Figure(name, value, "<= 5 %", share <= WAITING)
    with tempfile.TemporaryDirectory() as folder:
        state, loading = _published(Path(folder), windows, device)
    share = state.waited / state.seconds
    name = f"waiting for data, published sizes, {device}, {state.step} steps of {windows} windows: share"
    value = f"{100 * share:.2f} % of {state.seconds:.1f} s"
    yield Figure(name, value, "<= 5 %", share <= WAITING)
    name = f"loading a batch of {windows} windows in the loader's thread, {device}, ms / a step's"
    yield Figure(name, f"{1000 * loading:.1f} / {1000 * state.seconds / state.step:.0f}")


def _quickstart(folder: Path) -> tuple[dict[str, Any], float]:
    """What the model's facts say about the training, and the seconds of the whole run."""
    settings = ("--set", f"data.root={folder / 'videos'}", "--set", f"store={folder / 'store'}")
    ended = child([*RUN, "quickstart", *settings, "--runner", "local"])
    (facts,) = (folder / "store" / "model").glob("*/*/model.json")
    found: dict[str, Any] = json.loads(facts.read_text())["training"]["solv"]
    return found, ended.seconds


def _published(folder: Path, windows: int, device: str) -> tuple[State, float]:
    """`stages.learning.loop` on a store of random features; seconds that a batch takes to load."""
    sizes = argparse.Namespace(videos=4, frames=12, tokens=SHAPE.tokens, dim=SHAPE.width)
    write_store(folder / "store", sizes)
    store = FeatureStore(folder / "store")
    method = SolvMethod()
    sampler = ClipSampler(store, method.clips("solv"), 0)
    steps = 4 if device == "cpu" else 100

    def loader(seen: int) -> ClipLoader:
        return ClipLoader(store, sampler, method.streams, SHAPE, windows, seen, device)

    loading = statistics.median(_loads(loader(0), device))
    model = SolvModel(method, SHAPE)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-4)
    task = loop.Task("solv", model.to(device), optimiser, warmup_exponential, loader, len(sampler), "{}")
    spec = TrainSpec(steps=steps, batch=windows)
    return loop.train(task, spec, loop.Place(folder / "checkpoints", device, 1e9)), loading


def _loads(loader: ClipLoader, device: str) -> Iterator[float]:
    """Seconds for a batch when nothing else runs; the first few were read ahead."""
    try:
        for number in range(12):
            began = time.perf_counter()
            loader.next()
            _wait(device)
            if number > 4:
                yield time.perf_counter() - began
    finally:
        loader.close()


def main() -> int:
    arguments = parser(__doc__)
    arguments.add_argument("--part", choices=["all", "binding", "step", "waiting"], default="all")
    arguments.add_argument("--windows", type=int, default=2, help="windows of 5 frames in a step")
    arguments.add_argument("--rounds", type=int, default=5)
    args = arguments.parse_args()
    figures: list[Figure] = []
    devices = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    about = {"machine": machine(), "threads": str(torch.get_num_threads()), "torch": torch.__version__}
    if "cuda" in devices:
        about["GPU"] = torch.cuda.get_device_name()
    for device in devices:
        if args.part in ("all", "binding"):
            figures += binding(args.windows, args.rounds, device)
        if args.part in ("all", "step"):
            figures += step(args.windows, args.rounds, device)
    if args.part in ("all", "waiting"):
        figures += waiting(args.windows, devices[-1])
    show("training at published sizes", figures, about, args.write)
    return 0 if all(figure.good for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(main())
