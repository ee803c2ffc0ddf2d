"""Catalog rows for stages far below: found through the name of the shard an item comes from."""

from __future__ import annotations

from functools import lru_cache

import pyarrow.parquet as pq

from stages.artifacts import lineage
from stages.artifacts.layout import Artifact
from stages.artifacts.place import whole_file
from stages.stage import Row


def catalog_rows(folder: str, shard: str) -> dict[str, Row]:
    """The catalog's rows by video, of all videos that can be in ``shard`` of any stage below.

    Args:
        folder: the catalog's artifact.
    """
    return _rows(folder, lineage.root(shard))


@lru_cache(maxsize=4)
def _rows(folder: str, shard: str) -> dict[str, Row]:
    path = Artifact.at(folder).shard(shard)
    return {row["video"]: row for row in pq.read_table(whole_file(path)).to_pylist()}
