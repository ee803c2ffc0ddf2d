"""What a runner is given: a chain of map stages bound to artifacts, and the shards to make.

Everything here is plain data that travels between processes; nothing imports ray or torch.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from stages.artifacts import manifest
from stages.artifacts.layout import Artifact
from stages.artifacts.place import Place, StoreError, whole_file
from stages.artifacts.shardplan import pieces
from stages.stage import UPSTREAM_SHARD, MapStage, Row, WorkContext

TOLD_REJECTS = 10
"""How many rejects of a shard travel with its receipt; the artifact's ``rejects/`` has all."""

UPSTREAM_FAILED = "upstream"
"""Key of an item that stands for a video which the stage before has skipped or rejected."""


@dataclass(frozen=True)
class BoundStage:
    """A map stage, the artifact it fills, and how its workers work."""

    stage: MapStage
    artifact: Artifact
    context: WorkContext


Chain = tuple[BoundStage, ...]


class TableRows(Sequence[Row]):
    """Rows of a table that become dicts when they are read: the items of a million videos stay small.

    Travels between processes as a list.
    """

    def __init__(self, table: pa.Table, start: int, stop: int) -> None:
        self._table, self._start, self._stop = table, start, stop

    def __len__(self) -> int:
        return self._stop - self._start

    def __iter__(self) -> Iterator[Row]:
        return iter(self._table.slice(self._start, len(self)).to_pylist())

    def __getitem__(self, index: Any) -> Any:
        return list(self)[index]

    def __reduce__(self) -> tuple[type[list[Row]], tuple[list[Row]]]:
        return list, (list(self),)


@dataclass(frozen=True)
class Task:
    """One shard to make.

    Attributes:
        level: position of its stage in the chain.
        shard: its id.
        items: the listed items of a first stage's shard; None for later stages, which read them upstream.
        upstream: the shard of the stage before that holds the items.
        start, stop: the slice of the upstream shard's items.
        videos: only these of them (a retry); None for all.
        replace: make the shard although it is committed, and re-commit it (a repair).
        follow: go on with the shards of later stages that depend on it.
        frames, bytes: estimates of what the shard will hold, for plans and progress.
        count: how many items it has.
        then: other tasks that can only begin when this one is done.
    """

    level: int
    shard: str
    items: Sequence[Row] | None = None
    upstream: str = ""
    start: int = 0
    stop: int | None = None
    videos: list[str] | None = None
    replace: bool = False
    follow: bool = True
    frames: int = 0
    bytes: int = 0
    count: int = 0
    then: list[Task] = field(default_factory=list)

    def dump(self) -> str:
        """The task as text, for travelling."""
        return json.dumps(self._fields())

    def _fields(self) -> dict[str, Any]:
        items = None if self.items is None else list(self.items)
        return {**vars(self), "items": items, "then": [task._fields() for task in self.then]}

    @classmethod
    def load(cls, data: str) -> Task:
        """The inverse of `dump`."""
        return cls._of(json.loads(data))

    @classmethod
    def _of(cls, fields: dict[str, Any]) -> Task:
        return cls(**{**fields, "then": [cls._of(task) for task in fields["then"]]})


ErrorKind = Literal["", "store", "settings", "damage", "repair", "bug"]


@dataclass(frozen=True)
class Receipt:
    """What became of one task. Receipts travel between processes; features never do.

    Attributes:
        level, shard: the task's.
        done, skipped, rejected: videos by outcome.
        frames, bytes: stored frames, and the size of the shard file in bytes.
        seconds: wall-clock seconds spent, 0 where the shard was committed already.
        cpu: CPU seconds spent on it by the worker and its decoders, wherever they are.
        setup: of `seconds`, those that a worker spent on its first shard before the first item.
        items: what the shard was made from: listed files for a first stage, videos for others.
        hardware: name of the GPU that the worker uses, else of the processor.
        again: the shard was committed before, and has been made anew.
        made: whether this task made it; else it was there already.
        waited: seconds that the worker stood still meanwhile, by what it waited for.
        rejects: ``(video, error class, message)`` of the first `TOLD_REJECTS` rejected videos.
        host, pid: the process that made it.
        held: who else is making the shard, so that nothing was done; or ``""``.
        task: the task that was ``held``, as `Task.dump` gives it; else ``""``.
        next: tasks of the next stage that this shard makes possible.
        following: how many they are, where ``next`` itself does not travel.
        error, error_kind: why the whole run has to stop, if it has to.
    """

    level: int
    shard: str
    done: int = 0
    skipped: int = 0
    rejected: int = 0
    frames: int = 0
    bytes: int = 0
    seconds: float = 0.0
    cpu: float = 0.0
    setup: float = 0.0
    items: int = 0
    hardware: str = ""
    again: bool = False
    made: bool = False
    waited: dict[str, float] = field(default_factory=dict)
    rejects: list[list[str]] = field(default_factory=list)
    host: str = ""
    pid: int = 0
    held: str = ""
    task: str = ""
    next: list[Task] = field(default_factory=list)
    following: int = 0
    error: str = ""
    error_kind: ErrorKind = ""

    def dump(self) -> dict[str, Any]:
        """The receipt as JSON-able data; of ``next`` only its length."""
        kept = {k: v for k, v in vars(self).items() if k != "next"}
        return {**kept, "following": len(self.next)}


def items_below(bound: BoundStage, shard: str) -> list[Row]:
    """What a committed shard hands to the next stage: its rows or outcomes, then the videos that have none.

    An item made from an outcome names the shard it came from under `UPSTREAM_SHARD`.

    A skipped or rejected video is handed on by name with its reason, so that it has an outcome in every
    artifact, and so that an older result of it is superseded there. Files that were only touched are not.
    """
    artifact = bound.artifact
    footer = manifest.read_footer(artifact.manifest(shard))
    if bound.stage.hands_on == "rows":
        rows = _table_rows(artifact.shard(shard))
    else:
        origin = {UPSTREAM_SHARD: shard}
        done = [o for o in footer.outcomes if o["status"] == "done"]
        rows = [{**o["info"], "video": o["video"], **origin} for o in done]
    for outcome in footer.outcomes:
        if outcome["status"] != "done" and not outcome.get("info", {}).get("unchanged"):
            why = outcome.get("error_class") or outcome.get("reason")
            rows.append({"video": outcome["video"], UPSTREAM_FAILED: f"{artifact.kind}: {why}"})
    return rows


def _table_rows(path: Place) -> list[Row]:
    try:
        rows: list[Row] = pq.read_table(whole_file(path)).to_pylist()
    except StoreError:
        raise
    except (OSError, pa.ArrowInvalid) as error:
        raise manifest.damaged(path, error) from error
    return rows


def items_of(chain: Chain, task: Task) -> list[Row]:
    """The items of ``task``, read from the stage before where the task does not carry them."""
    if task.items is not None:
        return list(task.items)
    rows = items_below(chain[task.level - 1], task.upstream)[task.start : task.stop]
    if task.videos is None:
        return rows
    wanted = set(task.videos)
    return [row for row in rows if row["video"] in wanted]


def tasks_below(chain: Chain, level: int, shard: str, committed: bool = False) -> list[Task]:
    """The shards of stage ``level + 1`` that a committed shard of stage ``level`` leads to.

    Those that are committed already are left out, unless a later stage may still have to follow them, or
    ``committed`` asks for all.
    """
    if level + 1 == len(chain):
        return []
    below = chain[level + 1]
    rows = items_below(chain[level], shard)
    sizes = [(0, 0) if UPSTREAM_FAILED in row else below.stage.estimate(row) for row in rows]
    tasks = []
    for piece in pieces(shard, [size for _, size in sizes], below.artifact.layout):
        last = level + 2 == len(chain)
        if last and not committed and below.artifact.manifest(piece.shard).exists():
            continue
        part = sizes[piece.start : piece.stop]
        task = Task(
            level + 1,
            piece.shard,
            upstream=shard,
            start=piece.start,
            stop=piece.stop,
            frames=sum(frames for frames, _ in part),
            bytes=sum(size for _, size in part),
            count=len(part),
        )
        tasks.append(task)
    return tasks
