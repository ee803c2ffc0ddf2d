from __future__ import annotations

import hashlib
from pathlib import Path

import pyarrow as pa
import pytest

from stages.artifacts.layout import Artifact, ShardLayout, start
from stages.stage import WrittenShard


@pytest.fixture
def artifact(tmp_path: Path) -> Artifact:
    made = Artifact(tmp_path / "store" / "toy" / "toy-0123abcd", "toy", ".bin")
    start(made, {"kind": "toy", "name": "toy", "identity": {}}, ShardLayout(videos=2, bytes=1000))
    return made


@pytest.fixture
def written(tmp_path: Path):
    """A finished temporary shard with the given content."""
    count = iter(range(1000))

    def make(content: bytes = b"data") -> WrittenShard:
        path = tmp_path / f".shard-{next(count)}.tmp"
        path.write_bytes(content)
        rows = pa.table({"video": pa.array(["a"]), "offset": pa.array([0])})
        return WrittenShard(path, len(content), hashlib.sha256(content).hexdigest(), rows)

    return make
