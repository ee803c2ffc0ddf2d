"""How long a plan takes: what is to do times what earlier runs of the store measured, on given workers.

The model, which docs/cli.md states for users:

* A stage's work is its frames (videos, where it stores no frames or nobody knows them) times the median of
  the worker-seconds that one took. What a stage before will add is counted by that stage's own figures.
* Shards are whole: a stage of ``n`` shards keeps ``w`` workers busy for ``ceil(n / w)`` shards' time.
* Stages between two trainings stream. Where each has workers of its own (Ray) the slowest one decides, plus
  one shard's way through the others; where all share the workers (local) a shard goes through all of them.
  Neither can beat the processors: CPU seconds over CPUs.
* Each worker's setting up is added once per stage. Starting Ray is in no record, and left out.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pipelines.graph import BoundWhole
from pipelines.planning import Plan, StagePlan
from pipelines.rates import Rate, Records
from pipelines.trainings import seconds_left, train_settings
from stages.stage import MapStage


@dataclass(frozen=True)
class Site:
    """Where a run would be.

    Attributes:
        name: in words.
        workers: of each stage, or of all stages together where not ``pools``.
        cpus: of all nodes.
        pools: every stage has workers of its own.
        gpus: GPUs that a worker of a stage holds, by kind; possibly fractions.
        hardware: names of processors and GPUs there, as far as known.
        trains_on_gpus: every process of a training has a GPU.
    """

    name: str
    workers: int
    cpus: float
    pools: bool = True
    gpus: Mapping[str, float] = field(default_factory=dict)
    hardware: tuple[str, ...] = ()
    trains_on_gpus: bool = False


@dataclass
class StageEstimate:
    """What one stage will take; None is "not known".

    Attributes:
        items: files or videos to do, those included that the stage before will add.
        seconds: of all workers together, without setting up; ``low`` and ``high`` as earlier runs differed.
        cpu, setup: CPU seconds of all workers together; seconds until one worker is set up.
        gpu_seconds: GPUs times seconds.
        shards: it will make.
        bytes: it will write.
        source: which measurement the figures are from, or why there is none.
    """

    kind: str
    items: float | None = 0
    frames: float | None = None
    bytes: float | None = None
    seconds: float | None = 0.0
    low: float = 0.0
    high: float = 0.0
    cpu: float = 0.0
    setup: float = 0.0
    gpu_seconds: float = 0.0
    shards: int = 0
    adds: float | None = 0
    source: str = ""
    runs: int = 0


@dataclass
class Estimate:
    """What a plan will take; ``wall_seconds`` None where a stage has no measured rate."""

    site: Site
    stages: list[StageEstimate] = field(default_factory=list)
    wall_seconds: float | None = 0.0
    low: float = 0.0
    high: float = 0.0

    @property
    def unknown(self) -> list[str]:
        """Stages with something to do and no measured rate."""
        return [stage.kind for stage in self.stages if stage.seconds is None]

    @property
    def worker_seconds(self) -> float:
        """Of all stages that are known."""
        return sum(stage.seconds or 0.0 for stage in self.stages)

    @property
    def gpu_seconds(self) -> float:
        """GPUs times seconds, of all stages that are known."""
        return sum(stage.gpu_seconds for stage in self.stages)

    @property
    def bytes(self) -> int:
        """To write, of all stages that are known."""
        return int(sum(stage.bytes or 0 for stage in self.stages))


def estimate(plan: Plan, site: Site, records: Records | None = None) -> Estimate:
    """What ``plan`` will take at ``site``, by the records of its store."""
    return _Estimator(plan, site, records or Records(plan.graph.store)).result()


class _Estimator:
    """Goes through the stages in their order, since each hands its videos on."""

    def __init__(self, plan: Plan, site: Site, records: Records) -> None:
        self._plan, self._site, self._records = plan, site, records
        self._levels = {bound.stage.kind: level for level, bound in enumerate(plan.graph.chain)}
        self._wholes = {bound.stage.kind: bound for bound in plan.graph.whole}
        self._above: tuple[StagePlan, StageEstimate] | None = None

    def result(self) -> Estimate:
        found = Estimate(self._site)
        stream: list[StageEstimate] = []
        for stage in self._plan.stages:
            if stage.kind in self._levels:
                one = self._map(stage, self._plan.graph.chain[self._levels[stage.kind]].stage)
                self._above = stage, one
                stream.append(one)
            else:
                one = self._whole(stage, self._wholes[stage.kind])
                self._add(found, stream)
                self._add(found, [one], alone=True)
                stream = []
            found.stages.append(one)
        self._add(found, stream)
        if found.unknown:
            found.wall_seconds = None
        return found

    def _map(self, plan: StagePlan, stage: MapStage) -> StageEstimate:
        rate = self._records.rate(stage, plan.folder.name, self._site.hardware, stage.kind in self._site.gpus)
        new = self._above[1].adds if self._above is not None else 0
        items: float | None
        frames: float | None
        if plan.todo is not None:
            items, frames = plan.todo, plan.frames or None
        else:
            items = None if new is None else plan.known[0] + new
            each = rate.per("items", "frames") if rate else None
            frames = plan.known[1] + new * each if new is not None and each else None
        found = StageEstimate(plan.kind, items, frames, bytes=plan.bytes, seconds=None)
        if items == 0:
            return dataclasses.replace(found, seconds=0.0, bytes=0)
        if items is None or rate is None:
            found.source = (
                "no measured rate" if rate is None else "how many videos there will be is not known"
            )
            found.adds = items if self._above is not None else None
            return found
        self._price(found, rate, self._above is None)
        return found

    def _price(self, found: StageEstimate, rate: Rate, first: bool) -> None:
        """Fill in what a known number of items costs at a known rate."""
        assert found.items is not None
        unit = "frames" if found.frames and rate.per("frames") else "items"
        count = found.frames if unit == "frames" and found.frames else found.items
        seconds, (low, high) = rate.per(unit) or 0.0, rate.spread(unit)
        found.seconds, found.low, found.high = count * seconds, count * low, count * high
        found.cpu = count * (rate.per(unit, "cpu") or 0.0)
        found.setup = rate.per("workers", "setup") or 0.0
        if found.bytes is None:
            found.bytes = count * (rate.per(unit, "bytes") or 0.0)
        layout = self._plan.graph.layout
        above = self._above[1].shards if self._above is not None else 0
        by_size = 0 if first else math.ceil(found.bytes / layout.bytes)
        found.shards = max(math.ceil(found.items / layout.videos), by_size, above)
        found.gpu_seconds = found.seconds * self._site.gpus.get(found.kind, 0.0)
        # a stage below gets what this one hands on: a file may be several videos, a video stays one
        found.adds = found.items * (rate.per("items", "videos") or 1.0) if first else found.items
        runs = f"{rate.runs} earlier run{'s' * (rate.runs != 1)}" + ("" if rate.same else " on other data")
        found.source = f"{rate.items:,} {'files' if first else 'videos'} of {runs}, on {rate.hardware}"
        found.runs = rate.runs

    def _whole(self, plan: StagePlan, bound: BoundWhole) -> StageEstimate:
        if not plan.todo:
            return StageEstimate(plan.kind)
        videos = self._videos()
        if bound.sample:
            videos = bound.sample if videos is None else min(videos, bound.sample)
        found = StageEstimate(plan.kind, 1, seconds=None, source="no measured rate")
        if bound.fit and (like := seconds_left(bound, self._plan.graph.store, videos)) is not None:
            found.seconds, found.source = like[0], f"the steps of {like[1]}"
        elif (known := self._records.whole(bound.stage)) is not None:
            seconds, before = known
            if _fixed(bound) or not before:
                found.seconds = seconds
            elif videos is not None:
                found.seconds = seconds * videos / before
            found.source = "the latest run that made it"
        if found.seconds is not None:
            workers = self._plan.graph.config.run.train_workers if bound.fit else 1
            found.low = found.high = found.seconds
            found.gpu_seconds = found.seconds * workers if bound.fit and self._site.trains_on_gpus else 0.0
        return found

    def _videos(self) -> float | None:
        """Videos with a result once the last map stage so far is done."""
        if self._above is None:
            return 0
        plan, one = self._above
        new = 0 if one.items == 0 else one.adds
        return None if new is None else plan.cached + new

    def _add(self, found: Estimate, stream: Sequence[StageEstimate], alone: bool = False) -> None:
        """Put stages that stream, or one that runs ``alone``, behind what is there already."""
        known = [one for one in stream if one.seconds]
        if not known or found.wall_seconds is None:
            return
        for name in ("seconds", "low", "high"):
            parts = [dataclasses.replace(one, seconds=getattr(one, name)) for one in known]
            total = "wall_seconds" if name == "seconds" else name
            more = sum(one.seconds or 0.0 for one in parts) if alone else stream_seconds(parts, self._site)
            setattr(found, total, getattr(found, total) + more)


def _fixed(bound: BoundWhole) -> bool:
    """Whether a stage takes as long for few videos as for many: a training of so many steps."""
    return bound.fit and (bool(train_settings(bound.stage.identity()).get("steps")) or not bound.inputs)


def stream_seconds(stages: Sequence[StageEstimate], site: Site) -> float:
    """Wall-clock seconds of map stages that stream (see the module's model)."""
    setup = sum(one.setup for one in stages)
    least = sum(one.cpu for one in stages) / site.cpus
    shard = [(one.seconds or 0.0) / one.shards for one in stages]
    if site.pools:
        busy = [math.ceil(one.shards / site.workers) * each for one, each in zip(stages, shard, strict=True)]
        slowest = busy.index(max(busy))
        return setup + max(busy[slowest] + sum(shard) - shard[slowest], least)
    jobs = max(one.shards for one in stages)  # a shard and what follows from it, one after the other
    work = sum(one.seconds or 0.0 for one in stages)
    return setup + max(math.ceil(jobs / site.workers) * work / jobs, least)
