"""The stages that `benchmarks/scale.py` runs: a catalog that opens no file, and a stage that does nothing.

Everything around them is the project's own: listing, plan, tasks, shards, commits, manifests, ledger. Imports
neither torch nor decoders, so that workers start quickly.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa

from cluster.chain import BoundStage
from configs.compose import compose
from pipelines.graph import Graph
from stages.artifacts.layout import Artifact
from stages.artifacts.table_writer import ParquetShardWriter
from stages.catalog.dataset import DataSet
from stages.catalog.ids import source_id
from stages.catalog.spec import DataSpec
from stages.catalog.stage import CatalogStage
from stages.outcome import Done, Outcome, Rejected
from stages.stage import Attempts, MapStage, Row, WorkContext

COUNT = "count.txt"
"""File in the data's root that says how many videos there are."""
MTIME = 1_700_000_000_000_000_000
BAD_EVERY = 1000
"""One in so many videos is rejected."""
_ROW = pa.schema([pa.field("video", pa.string(), nullable=False), pa.field("frames", pa.int64())])


class NumberedSet(DataSet):
    """As many names of videos as `COUNT` says; new ones sort in between the old ones."""

    def items(self) -> list[Row]:
        """See `DataSet.items`."""
        count = int(Path(self.root, COUNT).read_text())
        return [
            {
                "uri": f"{n % 997:03d}/clip_{n:07d}.mp4",
                "bytes": 1_000_000 + n,
                "mtime": 1_700_000_000_000_000_000,
            }
            for n in range(count)
        ]


def is_bad(uri: str) -> bool:
    """Whether the video is one of those that are rejected."""
    return int(uri[-11:-4]) % BAD_EVERY == 0


@dataclass(frozen=True)
class ListedCatalog(CatalogStage):
    """A catalog that believes what is listed: no file is opened, every clip has 40 frames."""

    def open(self, context: WorkContext) -> ListedWorker:  # type: ignore[override]
        """See `MapStage.open`."""
        return ListedWorker()


class ListedWorker:
    """One row per listed item."""

    def process(self, items: Sequence[Row], writer: Any, attempts: Attempts) -> Iterator[Outcome]:
        """See `ShardWorker.process`."""
        for item in items:
            video = source_id(item["uri"])
            if is_bad(item["uri"]):
                yield Rejected(video, "truncated", "it ends early")
                continue
            info = {name: item[name] for name in ("uri", "bytes", "mtime")} | {
                "digest": f"{item['bytes']:032x}"
            }
            size = {"height": 360, "width": 640, "rotation": 0, "start": 0, "frames": 40, "fps": 8.0}
            writer.add({"video": video, "source": video, "truth": None, **size, **info})
            yield Done(video, info)

    def close(self) -> None:
        """Nothing was opened."""


@dataclass(frozen=True)
class NoOpStage(MapStage):
    """Reads the rows of the catalog and notes that it has seen them."""

    kind: ClassVar[str] = "noop"
    suffix: ClassVar[str] = ".parquet"

    @property
    def name(self) -> str:
        """See `Stage.name`."""
        return "noop"

    def open(self, context: WorkContext) -> NoOpWorker:
        """See `MapStage.open`."""
        return NoOpWorker()

    def writer(self, path: Path, shard: str) -> ParquetShardWriter:
        """See `MapStage.writer`."""
        return ParquetShardWriter(path, shard, _ROW)

    def estimate(self, row: Row) -> tuple[int, int]:
        """See `MapStage.estimate`."""
        return int(row["frames"]), 1000


class NoOpWorker:
    """One row per video."""

    def process(self, items: Sequence[Row], writer: Any, attempts: Attempts) -> Iterator[Outcome]:
        """See `ShardWorker.process`."""
        for item in items:
            writer.add({"video": item["video"], "frames": item["frames"]})
            yield Done(item["video"], {"frames": item["frames"]})

    def close(self) -> None:
        """Nothing was opened."""


def set_count(root: Path, rows: int) -> None:
    """Say that the data set below ``root`` has ``rows`` videos."""
    root.mkdir(parents=True, exist_ok=True)
    (root / COUNT).write_text(str(rows))


def graph(folder: Path) -> Graph:
    """Catalog and no-op stage over ``folder/videos``, into ``folder/store``, in shards of 64 videos."""
    kind = f"{NumberedSet.__module__}:{NumberedSet.__name__}"
    root, store = folder / "videos", folder / "store"
    config = compose("features", [], [f"data.root={root}", f"store={store}", f"data.kind={kind}"])
    context = WorkContext(str(root), store)
    chain: list[BoundStage] = []
    fingerprints: list[str] = []
    for stage in (ListedCatalog(DataSpec(kind=kind, name="numbered")), NoOpStage()):
        fingerprints.append(stage.fingerprint(fingerprints[-1:]))
        folder = store / stage.kind / f"{stage.name}-{fingerprints[-1][:8]}"
        artifact = Artifact(folder, stage.kind, stage.suffix)
        chain.append(BoundStage(stage, artifact, context))
    return Graph(config, store, tuple(chain), tuple(fingerprints), ())
