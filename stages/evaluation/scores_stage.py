"""The scores stage: tubes against ground truth, video by video, in named protocols.

Plans import this module, so it imports no torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa

from stages.artifacts.table_writer import ParquetShardWriter
from stages.discovery.contract import Method
from stages.evaluation.spec import MetricsSpec
from stages.stage import MapStage, Row, ShardWorker, ShardWriter, WorkContext

SCORES_SCHEMA = pa.schema(
    [
        pa.field("video", pa.string(), nullable=False),
        pa.field("candidate", pa.string(), nullable=False),
        pa.field("protocol", pa.string(), nullable=False),
        pa.field("object", pa.int64()),
        pa.field("value", pa.float64()),
        pa.field("evidence", pa.list_(pa.list_(pa.float64()))),
    ]
)
"""``candidate`` is a kind of mask of the method, or the name of a trivial row; ``object`` is null for scores
of whole videos. A video that does not count for a protocol has no row there.

Protocols on boxes, tubes and words have ``evidence``, rows of numbers of which the data set's figure is made
(`stages.metrics.box_protocols`), and null as ``value`` where a video has no figure of its own."""


@dataclass(frozen=True)
class ScoresStage(MapStage):
    """Shards of tubes (named ones where the recipe names them) in, rows of `SCORES_SCHEMA` out; videos
    without ground truth are skipped.

    Attributes:
        spec: the protocols.
        baselines: methods without training that are scored on the same features.
    """

    kind: ClassVar[str] = "scores"
    suffix: ClassVar[str] = ".parquet"
    version: ClassVar[int] = 2

    spec: MetricsSpec
    baselines: tuple[Method, ...] = ()

    @property
    def name(self) -> str:
        """Always ``scores``."""
        return "scores"

    def identity(self) -> dict[str, Any]:
        """As `Stage.identity`, with each trivial row's name beside its options."""
        identity = super().identity()
        fields = {"spec": identity["fields"]["spec"], "baselines": [b.identity() for b in self.baselines]}
        return {**identity, "fields": fields}

    @property
    def reads_shards(self) -> tuple[str, ...]:
        """Features, where there are trivial rows to compute from them."""
        return ("features",) if self.baselines else ()

    def open(self, context: WorkContext) -> ShardWorker:
        """See `MapStage.open`."""
        from stages.evaluation.scores_worker import ScoresWorker

        return ScoresWorker(self, context)

    def writer(self, path: Path, shard: str) -> ShardWriter:
        """Rows into a Parquet file."""
        return ParquetShardWriter(path, shard, SCORES_SCHEMA)

    def estimate(self, row: Row) -> tuple[int, int]:
        """``(0, bytes)``: a few rows per protocol and candidate."""
        return 0, 64 * len(self.spec.protocols) * (2 + len(self.baselines))
