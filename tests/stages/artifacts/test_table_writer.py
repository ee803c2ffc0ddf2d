"""Parquet shards: the same rows give the same bytes, and the manifest says where they are."""

import hashlib
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages.artifacts.table_writer import MANIFEST_SCHEMA, ParquetShardWriter

SCHEMA = pa.schema(
    [
        pa.field("video", pa.string(), nullable=False),
        pa.field("n", pa.int32(), nullable=False),
        pa.field("x", pa.float64()),
    ]
)


def fill(writer, videos=("a", "b", "c"), rows=2):
    for number, video in enumerate(videos):
        for n in range(rows):
            writer.add({"video": video, "n": 10 * number + n, "x": None if n else 0.5})
        writer.keep(video)
    return writer


def test_rows_come_back_and_the_manifest_finds_them(tmp_path):
    writer = fill(ParquetShardWriter(tmp_path / "t", "s-000000", SCHEMA))
    assert not (tmp_path / "t").exists()
    written = writer.finish()
    table = pq.read_table(tmp_path / "t")
    assert table.schema.equals(SCHEMA)
    assert written.rows.schema.equals(MANIFEST_SCHEMA)
    assert written.rows.to_pylist() == [
        {"video": v, "shard": "s-000000", "row": 2 * i, "rows": 2} for i, v in enumerate("abc")
    ]
    for entry in written.rows.to_pylist():
        part = table.slice(entry["row"], entry["rows"])
        assert set(part["video"].to_pylist()) == {entry["video"]}
    data = (tmp_path / "t").read_bytes()
    assert (written.path, written.bytes) == (tmp_path / "t", len(data))
    assert written.sha256 == hashlib.sha256(data).hexdigest()


def test_discarded_rows_leave_no_trace(tmp_path):
    plain = fill(ParquetShardWriter(tmp_path / "a", "s", SCHEMA)).finish()
    writer = ParquetShardWriter(tmp_path / "b", "s", SCHEMA)
    for video in "abc":
        writer.add({"video": "bad", "n": 1, "x": 1.0})
        writer.discard("bad")
        for n in range(2):
            writer.add({"video": video, "n": 10 * "abc".index(video) + n, "x": None if n else 0.5})
        writer.keep(video)
    again = writer.finish()
    assert again.sha256 == plain.sha256 and again.rows.equals(plain.rows)


def test_another_process_writes_the_same_bytes(tmp_path):
    written = fill(ParquetShardWriter(tmp_path / "a", "s", SCHEMA)).finish()
    code = (
        "import sys; from pathlib import Path; from stages.artifacts.table_writer import ParquetShardWriter;"
        "from tests.stages.artifacts.test_table_writer import SCHEMA, fill;"
        "print(fill(ParquetShardWriter(Path(sys.argv[1]), 's', SCHEMA)).finish().sha256)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "b")], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == written.sha256


def test_a_shard_without_rows(tmp_path):
    written = ParquetShardWriter(tmp_path / "t", "s", SCHEMA).finish()
    assert written.rows.num_rows == 0 and written.rows.schema.equals(MANIFEST_SCHEMA)
    assert pq.read_table(tmp_path / "t").schema.equals(SCHEMA)


def test_a_video_without_rows_is_in_the_manifest(tmp_path):
    writer = ParquetShardWriter(tmp_path / "t", "s", SCHEMA)
    writer.keep("silent")
    assert writer.finish().rows.to_pylist() == [{"video": "silent", "shard": "s", "row": 0, "rows": 0}]


def test_abort_removes_the_file(tmp_path):
    writer = fill(ParquetShardWriter(tmp_path / "t", "s", SCHEMA))
    writer.abort()
    assert not (tmp_path / "t").exists()
    writer = fill(ParquetShardWriter(tmp_path / "t", "s", SCHEMA))
    writer.finish()
    writer.abort()
    assert not (tmp_path / "t").exists()


def test_mistakes_are_refused(tmp_path):
    writer = ParquetShardWriter(tmp_path / "t", "s", SCHEMA)
    with pytest.raises(ValueError, match=r"lacks \['x'\] and has unknown columns \['y'\]"):
        writer.add({"video": "a", "n": 1, "y": 2})
    writer.add({"video": "a", "n": None, "x": 1.0})
    with pytest.raises(ValueError, match="video a has no value in column n"):
        writer.keep("a")
    writer.discard("a")
    writer.add({"video": "a", "n": "many", "x": 1.0})
    with pytest.raises(pa.ArrowException):
        writer.keep("a")
    writer.discard("a")
    fill(writer, ["a"])
    with pytest.raises(ValueError, match="there already"):
        writer.keep("a")
    writer.add({"video": "b", "n": 1, "x": 1.0})
    with pytest.raises(ValueError, match="belong to no video"):
        writer.finish()


def test_a_folder_that_cannot_be_written(tmp_path):
    with pytest.raises(OSError):
        fill(ParquetShardWriter(tmp_path / "none" / "t", "s", SCHEMA)).finish()
