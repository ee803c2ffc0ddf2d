"""The contract of a stage: what it computes, how it is identified, and how a shard of it is produced.

A stage is a frozen dataclass whose fields are exactly what changes its result. Knobs that only change
speed (workers, device, limits) are never fields; they travel in `WorkContext`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

import pyarrow as pa

from stages.artifacts.place import Place
from stages.outcome import Outcome

Row = dict[str, Any]
"""One item of a shard: a listed file for the first stage, a row of the stage before it otherwise."""


UPSTREAM_SHARD = "shard"
"""Key of an item that names the shard of the stage before which holds it."""


def canonical(value: Any) -> Any:
    """``value`` as plain JSON types with sorted keys, so that equal settings give equal text.

    Raises:
        TypeError: for a value that has no canonical JSON form (NaN, a set, an arbitrary object).
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: canonical(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(k): canonical(value[k]) for k in sorted(value, key=str)}
    if isinstance(value, (list, tuple)):
        return [canonical(v) for v in value]
    if isinstance(value, float):
        if value != value or value in (float("inf"), float("-inf")):
            raise TypeError(f"{value} can't be part of a fingerprint")
        return int(value) if value.is_integer() else value
    if value is None or isinstance(value, (str, int, bool)):
        return value
    raise TypeError(f"{type(value).__name__} can't be part of a fingerprint")


@dataclass(frozen=True)
class Stage(ABC):
    """What every stage has: a kind, a name, a version and a fingerprint."""

    kind: ClassVar[str]
    """Folder of the artifact under the store, e.g. ``features``."""
    version: ClassVar[int] = 1
    """Raised whenever the code starts to compute something else from the same fields."""

    @property
    @abstractmethod
    def name(self) -> str:
        """Human-readable part of the artifact's folder name, ``[a-z0-9_.-]+``."""

    def identity(self) -> dict[str, Any]:
        """Everything that decides the result except the inputs: kind, version, fields, weights."""
        return {
            "kind": self.kind,
            "version": self.version,
            "fields": canonical(self),
            "weights": self.weights_identity(),
        }

    def weights_identity(self) -> str:
        """What identifies the weights used: a digest, ``random:<seed>``, a pinned tag, or ``""`` for none."""
        return ""

    @property
    def reads_shards(self) -> tuple[str, ...]:
        """Kinds of transient artifacts before it (`features`) whose shard files it opens itself: such a shard
        is dropped after use only when every stage that names its kind here is done with it."""
        return ()

    def fingerprint(self, inputs: Sequence[str] = ()) -> str:
        """SHA-256 (hex) of `identity` and the fingerprints of the ``inputs``, in their order."""
        text = json.dumps([self.identity(), list(inputs)], sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


class Attempts(Protocol):
    """Failed decoder children per video, kept on disk so that they survive a restart."""

    def count(self, video: str) -> int:
        """How many children failed on ``video`` so far."""

    def record(self, video: str) -> int:
        """Count one more failed child for ``video``, durably, and return the new count."""


class MemoryAttempts:
    """Attempts that live only as long as the process: for tests and for single calls."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}

    def count(self, video: str) -> int:
        """See `Attempts.count`."""
        return self._counts.get(video, 0)

    def record(self, video: str) -> int:
        """See `Attempts.record`."""
        self._counts[video] = self.count(video) + 1
        return self._counts[video]


@dataclass(frozen=True)
class Limits:
    """Bounds on one decoder child. They decide when to give up, never what a result looks like."""

    timeout_s: float = 60.0
    """Longest wait, in seconds, for a sign of progress: a packet scanned, a frame decoded."""
    memory_mb: int = 2048
    """Resident memory of the child, in MiB, above which it is killed."""
    attempts: int = 2
    """Children that may fail on one video before it is rejected."""
    recycle_videos: int = 64
    """A child is replaced after this many videos, against slow leaks."""


@dataclass(frozen=True)
class WorkContext:
    """Where and how a worker works: nothing in here changes a result."""

    data_root: str
    scratch: Place
    """The store: what is kept for all runs on it lies there, such as text features."""
    device: str = "cpu"
    threads: int = 1
    limits: Limits = Limits()
    inputs: Mapping[str, str] = field(default_factory=dict)
    """Folders of the artifacts before the stage, by kind."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What a report tells about the run that makes it: recipe, settings, timings, cache hits."""
    decoders: int = 1
    """Decoder children of a process that trains on streamed video."""
    checkpoints: Place | None = None
    """Folder for the checkpoints of a training, which outlives a killed run."""
    checkpoint_s: float = 60.0
    """Seconds between two checkpoints."""
    report: Callable[[Mapping[str, float]], None] | None = None
    """Called with a training's figures by name whenever there are new ones."""


@dataclass(frozen=True)
class WrittenShard:
    """A finished shard that is still a temporary file.

    Attributes:
        path: the temporary file, flushed and fsynced.
        bytes: its size.
        sha256: hex digest of its content.
        rows: the manifest's table (one row per stored member or table row).
    """

    path: Path
    bytes: int
    sha256: str
    rows: pa.Table


class ShardWriter(Protocol):
    """One shard being written into a temporary file.

    Besides the methods here a writer has an ``add`` of its own, which the stage's worker calls.
    What was added since the last `keep` belongs to the current video.
    """

    def keep(self, video: str) -> None:
        """Seal the current video."""

    def discard(self, video: str) -> None:
        """Forget all that was added for the current video, which is being skipped or rejected."""

    def finish(self) -> WrittenShard:
        """Close the file and describe it."""

    def abort(self) -> None:
        """Remove the temporary file."""


class ShardWorker(Protocol):
    """A stage set up in one worker: weights loaded, decoder child running."""

    def process(self, items: Sequence[Row], writer: Any, attempts: Attempts) -> Iterator[Outcome]:
        """Compute the items of one shard in order.

        For every item the worker first adds what it has to ``writer`` and then yields the item's outcome
        (an item may yield several outcomes if it becomes several videos, as a long file does in the catalog).
        Only the item's own faults become `Rejected`; anything else is raised.
        """

    def close(self) -> None:
        """Stop child processes and free what was opened."""


class MapStage(Stage):
    """A shard of videos in, a shard of results out, video by video."""

    suffix: ClassVar[str]
    """File name ending of the shards: ``.tar`` or ``.parquet``."""
    hands_on: ClassVar[Literal["rows", "outcomes"]] = "outcomes"
    """What the items of the next stage are: the rows of this one's table (one per video), or its outcomes."""

    reads: ClassVar[tuple[str, ...]] = ()
    """Kinds of the fit stages before it whose results it uses, where the recipe has them; their fingerprints
    enter its own."""

    def prepare(self, context: WorkContext) -> Sequence[str]:
        """Find out, before a run's first shard is made, what this stage would otherwise find after hours.

        Called once per run, in the driver, where the stage has something to do.

        Returns:
            what the user should be told, as sentences.

        Raises:
            SettingsError: something that `open` will need can't be had.
        """
        return ()

    @abstractmethod
    def open(self, context: WorkContext) -> ShardWorker:
        """Set the stage up once per worker."""

    @abstractmethod
    def writer(self, path: Path, shard: str) -> ShardWriter:
        """A writer for the shard called ``shard`` that writes to the temporary file ``path``."""

    @abstractmethod
    def estimate(self, row: Row) -> tuple[int, int]:
        """``(frames, bytes)`` that ``row`` will probably take, for laying out shards and for the plan."""

    def size_known(self) -> bool:
        """Whether the bytes of `estimate` are more than a guess."""
        return True


class WholeStage(Stage):
    """A stage from whole artifacts to one folder of files: the common ground of fit and reduce stages."""

    @abstractmethod
    def make(self, inputs: Sequence[Place], folder: Path, context: WorkContext) -> None:
        """Write the result into ``folder`` (empty, private until it is published as a whole).

        Args:
            inputs: the folders of the input artifacts, in the order of the recipe; all complete.
        """

    def told(self, folder: Path) -> str:
        """What is said when a run ends about the files in ``folder`` that `make` wrote; "" for nothing."""
        return ""


class FitStage(WholeStage):
    """A whole artifact in, one model out (safetensors and JSON). Runs on Ray Train, or in this process."""

    reads_data: ClassVar[bool] = True
    """Whether it learns from the map stage before it; else the same settings give the same model anywhere."""

    @property
    def sample(self) -> int:
        """How many videos of the corpus it learns from; 0: all."""
        return 0


class ReduceStage(WholeStage):
    """Whole artifacts in, tables and pages out. Runs in the driver."""
