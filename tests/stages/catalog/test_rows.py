from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages.artifacts.layout import Artifact, ShardLayout, start
from stages.catalog.rows import catalog_rows
from stages.catalog.table import CATALOG_SCHEMA


def row(video: str, frames: int) -> dict[str, object]:
    place: dict[str, object] = {"video": video, "source": video, "uri": video, "start": 0, "frames": frames}
    size = {"fps": 5.0, "height": 32, "width": 48, "rotation": 0, "bytes": 1, "mtime": 0}
    return {**place, **size, "digest": "d", "truth": f"masks:Annotations/{video}"}


@pytest.fixture
def catalog(tmp_path: Path) -> Artifact:
    made = Artifact(tmp_path / "catalog" / "toy-0123abcd", "catalog", ".parquet")
    start(made, {"kind": "catalog", "name": "toy", "identity": {}}, ShardLayout(videos=2, bytes=1000))
    for shard, videos in {"000000": ["a", "b"], "000001": ["c"]}.items():
        made.shard(shard).parent.mkdir(exist_ok=True)
        rows = [row(video, 3 + n) for n, video in enumerate(videos)]
        pq.write_table(pa.Table.from_pylist(rows, schema=CATALOG_SCHEMA), made.shard(shard))
    return made


@pytest.mark.parametrize("shard", ["000000", "000000-00", "000000-01-00", "000000-r00-02"])
def test_rows_are_found_from_shards_of_any_depth(catalog: Artifact, shard: str) -> None:
    found = catalog_rows(str(catalog.root), shard)
    assert {video: entry["frames"] for video, entry in found.items()} == {"a": 3, "b": 4}
    assert found["b"] == row("b", 4)


def test_another_shard_has_other_rows(catalog: Artifact) -> None:
    assert list(catalog_rows(str(catalog.root), "000001-00-00")) == ["c"]


def test_a_shard_is_read_once(catalog: Artifact) -> None:
    """Workers ask for every video; a committed shard never changes."""
    first = catalog_rows(str(catalog.root), "000000-00")
    catalog.shard("000000").unlink()
    assert catalog_rows(str(catalog.root), "000000-01") is first


def test_a_shard_that_is_not_there_is_no_empty_one(catalog: Artifact) -> None:
    with pytest.raises(FileNotFoundError):
        catalog_rows(str(catalog.root), "000009-00")
