"""The growing shard plan: plan(n+1) = plan(n) + shards made from the sorted new items.

The first stage of a chain records its plan as generations, ``plan/000000.parquet`` and on, each created
exclusively and never changed: of two runs that want to grow the plan at once, one wins and the other reads
what it wrote. A stage further down needs no record: its shards follow from the committed shards of the stage
before it and from the layout in its own ``stage.json`` (`pieces`). Only its retries are recorded.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from stages.artifacts import atomic
from stages.artifacts.layout import Artifact, ShardLayout
from stages.artifacts.place import Place, matches, whole_file
from stages.stage import Row

LISTED_SCHEMA = pa.schema([("uri", pa.string()), ("bytes", pa.int64()), ("mtime", pa.int64())])
ITEM_SCHEMA = pa.schema([("shard", pa.string()), *LISTED_SCHEMA, ("known_digest", pa.string())])
"""The rows of a shard lie together."""
RETRY_SCHEMA = pa.schema([("shard", pa.string()), ("upstream", pa.string()), ("video", pa.string())])


def shard_id(number: int) -> str:
    """The id of the ``number``-th shard of a first stage; ids sort like their numbers."""
    return f"{number:06d}"


def listed_table(items: Sequence[Row]) -> pa.Table:
    """Listed items as a table (`LISTED_SCHEMA`), which takes a fifth of their room, in the same order."""
    return pa.Table.from_pylist(list(items), schema=LISTED_SCHEMA)


@dataclass(frozen=True)
class Growth:
    """What a listing adds to a recorded plan.

    Attributes:
        items: all items that need a shard (`ITEM_SCHEMA` without ``shard``), sorted by uri.
        new, changed, retried: how many of them, by the reason for which they get a shard.
        kept: how many listed items the plan has already.
        gone: how many items of the plan are no longer listed.
    """

    items: pa.Table
    new: int
    changed: int
    retried: int
    kept: int
    gone: int

    def __bool__(self) -> bool:
        return self.items.num_rows > 0


def generations(artifact: Artifact, prefix: str = "") -> list[Place]:
    """The recorded generations, oldest first. A listing only hints how many there are: they are numbered, and
    the one after the last it shows is asked for by name."""
    count = len(matches(artifact.plan_folder, f"{prefix}[0-9]*.parquet"))
    while _generation(artifact, count, prefix).exists():
        count += 1
    return [_generation(artifact, number, prefix) for number in range(count)]


def _generation(artifact: Artifact, number: int, prefix: str) -> Place:
    return artifact.plan_folder / f"{prefix}{number:06d}.parquet"


def read_plan(artifact: Artifact) -> pa.Table:
    """All recorded items of a first stage (`ITEM_SCHEMA`), oldest first; empty where nothing is recorded."""
    return _concat(generations(artifact), ITEM_SCHEMA)


def read_retries(artifact: Artifact) -> pa.Table:
    """All recorded retries of a later stage (`RETRY_SCHEMA`)."""
    return _concat(generations(artifact, "retry-"), RETRY_SCHEMA)


def _concat(files: Sequence[Place], schema: pa.Schema) -> pa.Table:
    return pa.concat_tables(
        [schema.empty_table(), *(pq.read_table(whole_file(f), schema=schema) for f in files)]
    )


def compare(
    plan: pa.Table, listed: pa.Table, digest_of: Callable[[str], str], retry: Collection[str]
) -> Growth:
    """What ``listed`` (`LISTED_SCHEMA`) adds to ``plan``.

    A file whose size and modification time are those of the plan's latest entry is kept. One of the same
    size with another time may only have been touched: its known digest goes along, so that the stage can
    tell. ``retry`` holds the uris that are to be tried again although they have not changed.
    """
    latest = plan.select(LISTED_SCHEMA.names).take(
        pa.array(np.arange(plan.num_rows)[::-1])
    )  # of equal ones `index_in` finds the first
    before = latest.take(pc.index_in(listed["uri"], latest["uri"]))
    known = _mask(pc.is_valid(before["uri"]))
    same_size = known & _mask(pc.equal(before["bytes"], listed["bytes"]))
    same = same_size & _mask(pc.equal(before["mtime"], listed["mtime"]))
    retried = known & _mask(pc.is_in(listed["uri"], pa.array(sorted(retry), pa.string())))
    changed = known & ~same & ~retried
    digests: list[str | None] = [None] * listed.num_rows
    touched = np.flatnonzero(changed & same_size)
    for index, uri in zip(touched, listed["uri"].take(pa.array(touched)).to_pylist(), strict=True):
        digests[index] = digest_of(uri) or None
    found = listed.append_column("known_digest", pa.array(digests, pa.string()))
    return Growth(
        found.filter(pa.array(~known | retried | changed)).sort_by("uri"),
        new=int((~known).sum()),
        changed=int(changed.sum()),
        retried=int(retried.sum()),
        kept=int((same & ~retried).sum()),
        gone=pc.count_distinct(plan["uri"]).as_py() - int(known.sum()),
    )


def _mask(flags: pa.ChunkedArray) -> np.ndarray:
    """Flags as numpy booleans; an unknown one is False."""
    return np.asarray(pc.fill_null(flags, False))


def assign(plan: pa.Table, growth: Growth, layout: ShardLayout) -> pa.Table:
    """The next generation: the growth's items cut into shards whose numbers follow the plan's."""
    used = pc.max(plan["shard"]).as_py() if plan.num_rows else None
    first = int(used) + 1 if used is not None else 0
    shards = np.arange(growth.items.num_rows) // layout.videos
    names = pa.array([shard_id(first + n) for n in range(shards[-1] + 1 if len(shards) else 0)], pa.string())
    return growth.items.add_column(0, "shard", names.take(pa.array(shards))).cast(ITEM_SCHEMA)


def record(artifact: Artifact, generation: pa.Table, number: int, prefix: str = "") -> bool:
    """Record ``generation`` as the ``number``-th; False if another run was first."""
    buffer = io.BytesIO()
    pq.write_table(generation, buffer, compression="zstd")
    return atomic.create(_generation(artifact, number, prefix), buffer.getvalue())


def grow(
    artifact: Artifact, listed: pa.Table, digest_of: Callable[[str], str], retry: Collection[str]
) -> pa.Table:
    """Record whatever ``listed`` adds and return the whole plan."""
    while True:
        number = len(generations(artifact))
        plan = read_plan(artifact)
        growth = compare(plan, listed, digest_of, retry)
        if not growth:
            return plan
        generation = assign(plan, growth, artifact.layout)
        if record(artifact, generation, number):
            return pa.concat_tables([plan, generation])
        retry = ()  # the other run retries the same ones


@dataclass(frozen=True)
class Piece:
    """One shard of a later stage: the items ``start`` to ``stop`` of the upstream shard's items."""

    shard: str
    upstream: str
    start: int
    stop: int


def pieces(upstream: str, sizes: Iterable[int], layout: ShardLayout) -> list[Piece]:
    """Cut an upstream shard's items (their estimated ``sizes`` in bytes, in order) into shards.

    A piece is closed before it would pass the layout's videos or bytes; an item larger than that has a
    piece of its own. The result depends on nothing else, so no record of it is needed.
    """
    cuts, count, total = [0], 0, 0
    position = 0
    for size in sizes:
        if count and (count == layout.videos or total + size > layout.bytes):
            cuts.append(position)
            count, total = 0, 0
        count, total, position = count + 1, total + size, position + 1
    if not position:
        return []
    bounds = zip(cuts, [*cuts[1:], position], strict=True)
    return [Piece(f"{upstream}-{n:02d}", upstream, a, b) for n, (a, b) in enumerate(bounds)]
