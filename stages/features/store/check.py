"""Which videos of a damaged shard are hit: every member's bytes against the checksum in the manifest."""

from __future__ import annotations

import pyarrow as pa
from crc32c import crc32c

from stages.artifacts.place import Place, opened


def damaged_members(shard: Place, rows: pa.Table) -> list[str]:
    """Videos, in shard order, of which some member is not what the manifest (`FEATURE_ROWS`) says."""
    damaged: dict[str, None] = {}
    columns = [rows[name].to_pylist() for name in ("video", "offset", "size", "crc32c")]
    with opened(shard) as file:
        for video, offset, size, checksum in zip(*columns, strict=True):
            if video in damaged:
                continue
            file.seek(offset)
            if crc32c(file.read(size)) != checksum:
                damaged[video] = None
    return list(damaged)
