"""Shards that are tables: rows in, one Parquet file of always the same bytes out."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from stages.stage import WrittenShard

MANIFEST_SCHEMA = pa.schema(
    [
        pa.field("video", pa.string(), nullable=False),
        pa.field("shard", pa.string(), nullable=False),
        pa.field("row", pa.int64(), nullable=False),
        pa.field("rows", pa.int64(), nullable=False),
    ]
)
"""Where the rows of a video lie: the first one's position in the shard, and how many there are."""


class ParquetShardWriter:
    """A `stages.stage.ShardWriter` for tables. Rows (thousands, in a shard) stay in memory until `finish`.

    Args:
        path: the temporary file to write; it appears with `finish`.
        shard: name of the shard, for the manifest.
        schema: columns of the table; a row has exactly these.
    """

    def __init__(self, path: Path, shard: str, schema: pa.Schema) -> None:
        self._path = path
        self._shard = shard
        self._schema = schema
        self._current: list[dict[str, Any]] = []
        self._kept: list[pa.RecordBatch] = []
        self._manifest: list[dict[str, Any]] = []
        self._videos: set[str] = set()
        self._rows = 0

    def add(self, row: dict[str, Any]) -> None:
        """Add one row of the current video.

        Raises:
            ValueError: the row has other columns than the schema.
        """
        if row.keys() != set(self._schema.names):
            missing = sorted(set(self._schema.names) - row.keys())
            extra = sorted(row.keys() - set(self._schema.names))
            raise ValueError(f"shard {self._shard}: a row lacks {missing} and has unknown columns {extra}")
        self._current.append(row)

    def keep(self, video: str) -> None:
        """Seal the current video.

        Raises:
            ValueError: the shard has this video already, or a column that must have a value has none.
            pyarrow.ArrowException: a value does not fit its column.
        """
        if video in self._videos:
            raise ValueError(f"shard {self._shard}: video {video} is there already")
        batch = pa.RecordBatch.from_pylist(self._current, self._schema)
        for field, column in zip(self._schema, batch.columns, strict=True):
            if column.null_count and not field.nullable:
                raise ValueError(f"shard {self._shard}: video {video} has no value in column {field.name}")
        self._videos.add(video)
        self._kept.append(batch)
        self._manifest.append({"video": video, "shard": self._shard, "row": self._rows, "rows": len(batch)})
        self._rows += len(batch)
        self._current = []

    def discard(self, video: str) -> None:
        """Forget the rows of the current video."""
        self._current = []

    def finish(self) -> WrittenShard:
        """Write the file, flushed and fsynced.

        Raises:
            ValueError: rows were added for a video that was neither kept nor discarded.
            OSError: the file can't be written.
        """
        if self._current:
            raise ValueError(f"shard {self._shard}: {len(self._current)} rows belong to no video")
        data = _parquet_bytes(pa.Table.from_batches(self._kept, self._schema).combine_chunks())
        with self._path.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        rows = pa.Table.from_pylist(self._manifest, MANIFEST_SCHEMA)
        return WrittenShard(self._path, len(data), hashlib.sha256(data).hexdigest(), rows)

    def abort(self) -> None:
        """Remove the temporary file, if it was written."""
        self._current = []
        self._path.unlink(missing_ok=True)


def _parquet_bytes(table: pa.Table) -> bytes:
    """The table as a Parquet file; settings that shape its bytes are fixed here, not left to defaults."""
    sink = pa.BufferOutputStream()
    pq.write_table(
        table, sink, version="2.6", data_page_version="1.0", compression="zstd", compression_level=3,
        use_dictionary=True, write_statistics=True, row_group_size=65536,
    )  # fmt: skip
    return bytes(sink.getvalue())
