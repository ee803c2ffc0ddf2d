"""Stages so small that what is left to test is the runner."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa

from cluster.chain import BoundStage, Chain
from stages.artifacts.layout import Artifact, ShardLayout, start
from stages.artifacts.table_writer import ParquetShardWriter
from stages.errors import SettingsError
from stages.outcome import Done, MediaError, Outcome, Rejected, Skipped
from stages.stage import Attempts, FitStage, MapStage, Row, WorkContext

SCHEMA = pa.schema([("video", pa.string()), ("number", pa.int64())])


@dataclass(frozen=True)
class Numbers(MapStage):
    """Lists ``number`` of each item, ``plus`` added; names say what else becomes of an item."""

    kind: ClassVar[str] = "numbers"
    suffix: ClassVar[str] = ".parquet"
    plus: int = 0

    @property
    def name(self) -> str:
        return f"plus{self.plus}"

    def open(self, context: WorkContext) -> _Worker:
        return _Worker(self.plus, context.scratch)

    def writer(self, path: Path, shard: str) -> ParquetShardWriter:
        return ParquetShardWriter(path, shard, SCHEMA)

    def estimate(self, row: Row) -> tuple[int, int]:
        return 1, 10


@dataclass(frozen=True)
class Doubles(Numbers):
    """The same under another kind, as a second stage."""

    kind: ClassVar[str] = "doubles"


class _Worker:
    def __init__(self, plus: int, scratch: Path) -> None:
        self._plus = plus
        self._log = scratch / f"worker-{os.getpid()}"

    def process(self, items: Sequence[Row], writer: Any, attempts: Attempts) -> Iterator[Outcome]:
        for item in items:
            video = item["video"]
            with self._log.open("a") as log:
                log.write(f"{video}\n")
            yield self._outcome(video, item, writer)

    def _outcome(self, video: str, item: Row, writer: Any) -> Outcome:
        if video.startswith("bad"):
            return Rejected.of(video, MediaError("decode_error", "is bad"))
        if video.startswith("same"):
            return Skipped(video, "touched", {"unchanged": True})
        if video.startswith("bug"):
            raise ZeroDivisionError("in the stage")
        if video.startswith("settings"):
            raise SettingsError("can't work like this")
        if video.startswith("die") and not (mark := self._log.with_name(f"{video}.died")).exists():
            mark.touch()
            os._exit(9)
        if video.startswith("mortal"):
            os._exit(9)
        writer.add({"video": video, "number": item["number"] + self._plus})
        return Done(video, {"frames": 1})

    def close(self) -> None:
        self._log.with_suffix(".closed").touch()


@dataclass(frozen=True)
class Total(FitStage):
    """A model that is the sum of all numbers."""

    kind: ClassVar[str] = "total"

    @property
    def name(self) -> str:
        return "total"

    def make(self, inputs: Sequence[Path], folder: Path, context: WorkContext) -> None:
        import pyarrow.parquet as pq

        total = sum(sum(pq.read_table(path / "shards")["number"].to_pylist()) for path in inputs)
        (folder / "model.json").write_text(json.dumps({"total": total, "device": context.device}))


def bind(store: Path, *stages: MapStage, videos: int = 2) -> Chain:
    """The stages as a chain on started artifacts in ``store``."""
    context = WorkContext(data_root=str(store), scratch=store)
    chain = []
    for stage in stages:
        artifact = Artifact(store / stage.kind / f"{stage.name}-00000000", stage.kind, stage.suffix)
        start(artifact, {"kind": stage.kind, "name": stage.name}, ShardLayout(videos=videos))
        chain.append(BoundStage(stage, artifact, context))
    return tuple(chain)


def items(*videos: str) -> list[Row]:
    """One item per video, numbered."""
    return [{"video": video, "number": number} for number, video in enumerate(videos)]
