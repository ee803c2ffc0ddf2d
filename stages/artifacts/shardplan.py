"""The growing shard plan: plan(n+1) = plan(n) + shards made from the sorted new items.

The first stage of a chain records its plan as generations, ``plan/000000.parquet`` and on, each created
exclusively and never changed: of two runs that want to grow the plan at once, one wins and the other reads
what it wrote. A stage further down needs no record: its shards follow from the committed shards of the stage
before it and from the layout in its own ``stage.json`` (`pieces`). Only its retries are recorded.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from stages.artifacts import atomic
from stages.artifacts.layout import Artifact, ShardLayout
from stages.artifacts.place import Place, matches, whole_file
from stages.stage import Row

ITEM_SCHEMA = pa.schema(
    [
        ("shard", pa.string()),
        ("uri", pa.string()),
        ("bytes", pa.int64()),
        ("mtime", pa.int64()),
        ("known_digest", pa.string()),
    ]
)
RETRY_SCHEMA = pa.schema([("shard", pa.string()), ("upstream", pa.string()), ("video", pa.string())])


def shard_id(number: int) -> str:
    """The id of the ``number``-th shard of a first stage; ids sort like their numbers."""
    return f"{number:06d}"


@dataclass
class Growth:
    """What a listing adds to a recorded plan.

    Attributes:
        new, changed, retried: items by the reason for which they get a shard.
        kept: how many listed items the plan has already.
        gone: how many items of the plan are no longer listed.
    """

    new: list[Row] = field(default_factory=list)
    changed: list[Row] = field(default_factory=list)
    retried: list[Row] = field(default_factory=list)
    kept: int = 0
    gone: int = 0

    def items(self) -> list[Row]:
        """All items that need a shard, in the order of the listing."""
        return sorted([*self.new, *self.changed, *self.retried], key=lambda item: item["uri"].encode())

    def __bool__(self) -> bool:
        return bool(self.new or self.changed or self.retried)


def generations(artifact: Artifact, prefix: str = "") -> list[Place]:
    """The recorded generations, oldest first."""
    return matches(artifact.plan_folder, f"{prefix}[0-9]*.parquet")


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
    plan: pa.Table, listed: Sequence[Row], digest_of: Callable[[str], str], retry: set[str]
) -> Growth:
    """What ``listed`` adds to ``plan``.

    A file whose size and modification time are those of the plan's latest entry is kept. One of the same
    size with another time may only have been touched: its known digest goes along, so that the stage can
    tell. ``retry`` holds the uris that are to be tried again although they have not changed.
    """
    uris = plan["uri"].to_pylist()
    known = dict(
        zip(uris, zip(plan["bytes"].to_pylist(), plan["mtime"].to_pylist(), strict=True), strict=True)
    )
    growth = Growth()
    seen = 0
    for item in listed:
        uri = item["uri"]
        before = known.get(uri)
        if before is None:
            growth.new.append({**item, "known_digest": None})
            continue
        seen += 1
        if uri in retry:
            growth.retried.append({**item, "known_digest": None})
        elif before == (item["bytes"], item["mtime"]):
            growth.kept += 1
        else:
            digest = digest_of(uri) if before[0] == item["bytes"] else ""
            growth.changed.append({**item, "known_digest": digest or None})
    growth.gone = len(known) - seen
    return growth


def assign(plan: pa.Table, growth: Growth, layout: ShardLayout) -> pa.Table:
    """The next generation: the growth's items cut into shards whose numbers follow the plan's."""
    used = pc.max(plan["shard"]).as_py() if plan.num_rows else None
    first = int(used) + 1 if used is not None else 0
    items = growth.items()
    rows = [{**item, "shard": shard_id(first + i // layout.videos)} for i, item in enumerate(items)]
    return pa.Table.from_pylist(rows, schema=ITEM_SCHEMA)


def record(artifact: Artifact, generation: pa.Table, number: int, prefix: str = "") -> bool:
    """Record ``generation`` as the ``number``-th; False if another run was first."""
    buffer = io.BytesIO()
    pq.write_table(generation, buffer, compression="zstd")
    return atomic.create(artifact.plan_folder / f"{prefix}{number:06d}.parquet", buffer.getvalue())


def grow(
    artifact: Artifact, listed: Sequence[Row], digest_of: Callable[[str], str], retry: set[str]
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
        retry = set()  # the other run retries the same ones


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
