"""The tubes stage: features of every video through a method's `segment`, upsampled, linked, as rows of tubes.

Plans import this module, so it imports no torch.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from stages.discovery.contract import Method
from stages.stage import MapStage, Row, ShardWorker, ShardWriter, WorkContext

_GUESSED_TUBES = 8
_ROW_BYTES = 400


@dataclass(frozen=True)
class TubesStage(MapStage):
    """Feature shards in, tubes out: one set per kind of mask that the method has.

    Attributes:
        method: how objects are found.
        only_annotated: skip videos without ground truth (evaluation of a part of a corpus).
    """

    kind: ClassVar[str] = "tubes"
    suffix: ClassVar[str] = ".parquet"
    accelerated: ClassVar[bool] = True
    version: ClassVar[int] = 2
    reads: ClassVar[tuple[str, ...]] = ("model",)

    method: Method
    only_annotated: bool = False

    @property
    def name(self) -> str:
        """The method's name."""
        return re.sub(r"[^a-z0-9_.-]+", "-", self.method.name)

    def identity(self) -> dict[str, Any]:
        """As `Stage.identity`, with the method's name and version beside its options."""
        fields = {"method": self.method.identity(), "only_annotated": self.only_annotated}
        return {**super().identity(), "fields": fields}

    @property
    def reads_shards(self) -> tuple[str, ...]:
        """See `Stage.reads_shards`."""
        return ("features",)

    def open(self, context: WorkContext) -> ShardWorker:
        """The method's models loaded.

        Raises:
            SettingsError: the model is missing, or not of this method and these features.
        """
        from stages.discovery.tubes_worker import TubesWorker

        return TubesWorker(self, context)

    def writer(self, path: Path, shard: str) -> ShardWriter:
        """A writer of tubes."""
        from stages.tubes.writer import TubesWriter

        return TubesWriter(path, shard)

    def estimate(self, row: Row) -> tuple[int, int]:
        """``(frames, bytes)``; how many tubes there will be is a guess."""
        frames = int(row["frames"])
        return frames, frames * _GUESSED_TUBES * _ROW_BYTES * len(self.method.mask_kinds)

    def size_known(self) -> bool:
        """Never: masks are compressed."""
        return False
