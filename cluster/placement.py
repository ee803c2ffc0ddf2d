"""What every actor of a run asks of its node, and whether all of them find room on the nodes together.

Plain arithmetic on what nodes have: plans use it on figures that they were told, without ray.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from cluster.resources import ResourcesError
from stages.errors import SettingsError
from stages.stage import MapStage

DECODE = "decode"
"""Custom resource of nodes that are there to decode: one unit per CPU."""
_UNIT = 10_000
"""Ray counts in ten-thousandths."""

Resources = Mapping[str, float]
"""Amounts by name: ``CPU``, ``GPU``, custom ones."""


@dataclass(frozen=True)
class Node:
    """One node of a cluster.

    Attributes:
        id: Ray's, in hex.
        name: what users know it by.
        total: what it has.
        free: what nobody holds just now; None where that isn't known.
    """

    id: str
    name: str
    total: Resources
    free: Resources | None = None

    @property
    def cpus(self) -> int:
        """Its whole CPUs."""
        return int(self.total.get("CPU", 0))

    @property
    def decode_units(self) -> int:
        """Decoders that it is there for."""
        return min(int(self.total.get(DECODE, 0)), self.cpus)


@dataclass(frozen=True)
class Pool:
    """Actors of one kind, all of which must run at the same time.

    Attributes:
        name: what they are, in the plural.
        count: how many.
        needs: what each of them asks of its node.
        remedy: what to set where they don't fit.
    """

    name: str
    count: int
    needs: Resources
    remedy: str = field(default="lower --workers", compare=False)


def place(nodes: Sequence[Node], pools: Sequence[Pool]) -> dict[str, list[str]]:
    """The ids of the nodes on which the actors of every pool find room, by the pool's name.

    First fit decreasing: the actors that take the largest part of the cluster first, each on the first node
    with room, where nodes that have nothing but what it asks for come first.

    Raises:
        ResourcesError: they do not all fit. Ray would wait for the missing ones without a word.
    """
    left = {node.id: Counter(_units(node.total)) for node in nodes}
    total: Counter[str] = sum(left.values(), Counter())

    def size(pool: Pool) -> float:
        return max(
            (need / total[kind] for kind, need in _units(pool.needs).items() if total[kind]), default=0
        )

    placed = {}
    for pool in sorted(pools, key=size, reverse=True):
        found = list(_first_fit(left, pool))
        if len(found) < pool.count:
            raise ResourcesError(_no_room(pool, len(found), nodes, pools))
        placed[pool.name] = found
    return placed


def _first_fit(left: dict[str, Counter[str]], pool: Pool) -> Iterator[str]:
    """A node for each actor of ``pool``, as long as there are any; takes what they need from ``left``."""
    needs = _units(pool.needs)
    order = sorted(left, key=lambda node: sum(1 for k, n in left[node].items() if n and k not in needs))
    missing = pool.count
    for node in order:
        room = min((left[node][kind] // need for kind, need in needs.items()), default=missing)
        taken = min(room, missing)
        for kind, need in needs.items():
            left[node][kind] -= taken * need
        missing -= taken
        yield from [node] * taken


def _units(amounts: Resources) -> dict[str, int]:
    return {kind: units for kind, amount in amounts.items() if (units := round(amount * _UNIT)) > 0}


def _no_room(pool: Pool, room: int, nodes: Sequence[Node], pools: Sequence[Pool]) -> str:
    kinds = sorted({"CPU", "GPU", *pool.needs})
    have = "; ".join(f"{node.name} {_had(node, kinds)}" for node in nodes[:20])
    more = f"; and {len(nodes) - 20} more" if len(nodes) > 20 else ""
    return (
        f"{pool.count} {pool.name} need {_said(pool.needs, sorted(pool.needs))} each, on one node, and "
        f"there is room for {room} beside the run's other actors (nodes: {have or 'none'}{more}): "
        f"{pool.remedy if room else _remedy(pool, nodes, pools)}"
    )


def _remedy(pool: Pool, nodes: Sequence[Node], pools: Sequence[Pool]) -> str:
    """What helps where not one actor of ``pool`` finds room: fewer of them do not."""
    if any(True for _ in _first_fit({node.id: Counter(_units(node.total)) for node in nodes}, pool)):
        return " or ".join(sorted({other.remedy for other in pools if other.name != pool.name}))
    lower = ", or leave run.gpus out" if "GPU" in pool.needs else ""
    return f"add nodes that have it{lower}"


def _said(amounts: Resources, kinds: Sequence[str]) -> str:
    return " + ".join(f"{amounts[kind]:g} {kind}" for kind in kinds if amounts.get(kind)) or "nothing"


def _had(node: Node, kinds: Sequence[str]) -> str:
    """What a node has of ``kinds``, and how much of that is free where others hold some of it."""
    said = []
    for kind in kinds:
        total = node.total.get(kind, 0)
        free = total if node.free is None else node.free.get(kind, 0)
        if total:
            said.append(f"{total:g} {kind}" + (f" of which {free:g} free" if free < total else ""))
    return " + ".join(said) or "nothing"


def owner_needs(accelerated: Sequence[bool], gpus: float) -> list[dict[str, float]]:
    """What the shard owners of consecutive stages ask for.

    A worker is one owner of every stage. Together they ask for one CPU and ``gpus`` GPUs, in equal parts for
    the stages that run models; the others wait for disks and hold nothing. Where no stage runs a model all
    of them share the CPU. Since all owners that hold something ask for the same, they can't get into each
    other's way: however they are placed, as many as fit do fit.

    Args:
        accelerated: of each stage, whether it runs a model (`MapStage.accelerated`).
        gpus: GPUs of a worker, possibly a fraction.

    Raises:
        SettingsError: ``gpus`` can't be had like that.
    """
    if gpus < 0 or (gpus > 1 and gpus != int(gpus)):
        raise SettingsError(f"run.gpus={gpus:g}: give a fraction up to 1, or a whole number")
    holders = sum(accelerated) or len(accelerated)
    needs = {"CPU": _part(1, holders)}
    if any(accelerated) and gpus:
        needs["GPU"] = _part(gpus, holders)
    return [dict(needs) if own or not any(accelerated) else {} for own in accelerated]


def _part(amount: float, holders: int) -> float:
    """An equal part, rounded down to what Ray can count; above one, whole."""
    part = amount / holders
    return float(int(part)) if part > 1 else int(part * _UNIT) / _UNIT


def decoder_pool(nodes: Sequence[Node], count: int, gpus: float) -> Pool:
    """The decode actors: on the nodes that are there to decode if there are any, else on any CPUs.

    Args:
        count: how many; 0: one per unit of `DECODE`, else one per CPU of the nodes without a GPU beside ones
            that have one, else for half of the CPUs.
        gpus: GPUs of a worker; 0: workers need CPUs too.
    """
    units = sum(node.decode_units for node in nodes)
    plain = sum(node.cpus for node in nodes if not node.total.get("GPU"))
    if units:
        fitting = units
    else:
        fitting = plain if gpus and plain else sum(node.cpus for node in nodes) // 2
    needs = {"CPU": 1.0, DECODE: 1.0} if units else {"CPU": 1.0}
    return Pool("decoders", count or max(1, fitting), needs, "lower run.decode_workers")


def most_workers(nodes: Sequence[Node], needs: Sequence[Resources], others: Sequence[Pool] = ()) -> int:
    """How many workers (an owner per entry of ``needs``) find room beside the ``others``; at least 1."""
    held = [need for need in needs if need]
    left = {node.id: Counter(_units(node.total)) for node in nodes}
    for pool in others:
        for _ in _first_fit(left, pool):
            pass
    limit = sum(node.cpus for node in nodes) * max(1, len(held)) * _UNIT
    room = sum(1 for _ in _first_fit(left, Pool("owners", limit, held[0]))) if held else 1
    return max(1, room // max(1, len(held)))


@dataclass(frozen=True)
class Asked:
    """What the user said about the size of a run.

    Attributes:
        workers: owners per stage; 0: as many as there is room for.
        gpus: GPUs of a worker.
        decoders: decode actors, 0 for `decoder_pool`'s number; None: videos are decoded beside the models.
    """

    workers: int = 0
    gpus: float = 0.0
    decoders: int | None = None


@dataclass(frozen=True)
class Arrangement:
    """Where the actors of a run go.

    Attributes:
        workers: owners per stage.
        needs: what an owner of each stage asks for.
        unfit: ids of the nodes that owners which ask for nothing keep off.
        decoders: the decode actors; None: there are none.
        decoder_nodes: the id of each one's node.
        streams: videos that one owner has decoded at a time.
    """

    workers: int
    needs: tuple[Resources, ...]
    unfit: tuple[str, ...]
    decoders: Pool | None = None
    decoder_nodes: tuple[str, ...] = ()
    streams: int = 1


def pools_of(
    nodes: Sequence[Node], stages: Sequence[MapStage], asked: Asked
) -> tuple[int, Pool, Pool | None]:
    """How many workers a run of ``stages`` has, their owners that hold something, and the decode actors.

    Raises:
        SettingsError: ``asked.gpus`` can't be had like that.
    """
    needs = owner_needs([stage.accelerated for stage in stages], asked.gpus)
    decoders = None
    if asked.decoders is not None and any(stage.decodes for stage in stages):
        decoders = decoder_pool(nodes, asked.decoders, asked.gpus)
    workers = asked.workers or most_workers(nodes, needs, [decoders] if decoders else [])
    holding = [stage.kind for stage, need in zip(stages, needs, strict=True) if need]
    each = next(filter(None, needs))
    return workers, Pool(f"shard owners ({', '.join(holding)})", workers * len(holding), each), decoders


def arrange(nodes: Sequence[Node], stages: Sequence[MapStage], asked: Asked) -> Arrangement:
    """Where the actors of a run of ``stages`` go, all of which run at the same time.

    Raises:
        ResourcesError: they don't fit.
        SettingsError: ``asked.gpus`` can't be had like that.
    """
    needs = owner_needs([stage.accelerated for stage in stages], asked.gpus)
    decoding = sum(stage.decodes for stage in stages)
    workers, owners, decoders = pools_of(nodes, stages, asked)
    others = [decoders] if decoders else []
    placed = place(nodes, [*others, owners])
    return Arrangement(
        workers,
        tuple(needs),
        tuple(unfit_for_light_work(nodes)),
        decoders,
        tuple(placed[decoders.name]) if decoders else (),
        -(-decoders.count // (workers * decoding)) if decoders else 1,
    )


def training_pool(workers: int, asked: Asked) -> Pool:
    """The processes of one training."""
    needs = {"GPU": 1.0} if asked.gpus else {"CPU": 1.0}
    return Pool("processes of the training", workers, needs, "lower run.train_workers")


def arrange_training(nodes: Sequence[Node], workers: int, asked: Asked) -> Arrangement:
    """Where the processes of one training go, and the decoders that feed them if it asks for any.

    Raises:
        ResourcesError: they don't fit.
    """
    training = training_pool(workers, asked)
    needs = training.needs
    if asked.decoders is None:
        place(nodes, [training])
        return Arrangement(workers, (needs,), ())
    decoders = decoder_pool(nodes, asked.decoders, asked.gpus)
    placed = place(nodes, [decoders, training])
    streams = -(-decoders.count // workers)
    return Arrangement(workers, (needs,), (), decoders, tuple(placed[decoders.name]), streams)


def unfit_for_light_work(nodes: Sequence[Node]) -> list[str]:
    """Ids of the nodes where owners that ask for nothing should not be: heads that are given no work, and
    nodes that are there to decode. Empty where no other node would be left.
    """
    unfit = [node.id for node in nodes if not node.cpus or node.decode_units]
    return unfit if len(unfit) < len(nodes) else []
