"""Shards of tubes: the same tubes give the same bytes, and the manifest says where they are."""

import hashlib
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages.artifacts.atomic import StoreError
from stages.tubes.table import TUBES_MANIFEST, TUBES_SCHEMA
from stages.tubes.writer import TubeFrame, TubesWriter
from tests.stages.tubes.making import add_video, random_segmentation, squares


def fill(writer, videos=("a", "b", "c")):
    for number, video in enumerate(videos):
        add_video(writer, video, random_segmentation(number))
        writer.keep(video)
    return writer


def one(tube=0, position=0, area=4):
    return TubeFrame(tube, position, "04", (0, 0, 2, 2), area, 0.5)


def test_rows_come_back_and_the_manifest_finds_them(tmp_path):
    written = fill(TubesWriter(tmp_path / "t", "s")).finish()
    data = (tmp_path / "t").read_bytes()
    assert (written.path, written.bytes) == (tmp_path / "t", len(data))
    assert written.sha256 == hashlib.sha256(data).hexdigest()
    table = pq.read_table(tmp_path / "t")
    assert table.schema.equals(TUBES_SCHEMA) and written.rows.schema.equals(TUBES_MANIFEST)
    assert pq.ParquetFile(tmp_path / "t").num_row_groups == 3
    assert written.rows["rows"].to_pylist() and sum(written.rows["rows"].to_pylist()) == table.num_rows
    for entry in written.rows.to_pylist():
        part = table.slice(entry["row"], entry["rows"])
        assert set(part["video"].to_pylist()) == {entry["video"]}
        assert entry["masks"] == ["decoder", "attention"]
        assert (entry["frame"], entry["pts"]) == ([3, 8, 13], [3 / 25, 8 / 25, 13 / 25])
        assert (entry["height"], entry["width"]) == (24, 40)
        keys = [(entry["masks"].index(r["mask"]), r["tube"], r["frame"]) for r in part.to_pylist()]
        assert keys == sorted(set(keys))


def test_discarded_videos_leave_no_trace(tmp_path):
    plain = fill(TubesWriter(tmp_path / "a", "s")).finish()
    writer = TubesWriter(tmp_path / "b", "s")
    for number, video in enumerate("abc"):
        add_video(writer, "bad", squares())
        writer.discard("bad")
        add_video(writer, video, random_segmentation(number))
        writer.keep(video)
    again = writer.finish()
    assert again.sha256 == plain.sha256 and again.rows.equals(plain.rows)


def test_another_process_writes_the_same_bytes(tmp_path):
    written = fill(TubesWriter(tmp_path / "a", "s")).finish()
    code = (
        "import sys; from pathlib import Path; from stages.tubes.writer import TubesWriter;"
        "from tests.stages.tubes.test_writer import fill;"
        "print(fill(TubesWriter(Path(sys.argv[1]), 's')).finish().sha256)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "b")], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == written.sha256


def test_videos_and_shards_without_tubes(tmp_path):
    writer = TubesWriter(tmp_path / "t", "s")
    writer.add("silent", "decoder", (4, 4), [0, 1], [0.0, 0.1], [])
    writer.keep("silent")
    add_video(writer, "b", squares())
    writer.keep("b")
    entries = writer.finish().rows.to_pylist()
    assert [(e["video"], e["row"], e["rows"]) for e in entries] == [("silent", 0, 0), ("b", 0, 4)]
    assert entries[0]["frame"] == [0, 1]
    empty = TubesWriter(tmp_path / "e", "s").finish()
    assert empty.rows.num_rows == 0 and pq.read_table(tmp_path / "e").schema.equals(TUBES_SCHEMA)


def test_memory_holds_one_video(tmp_path):
    """What is kept is on the disk: 30 more videos leave less in memory than the rows of one."""
    rows = [one(tube, position) for tube in range(8) for position in range(50)]
    slots = {tube: np.full(64, tube, np.float32) for tube in range(8)}
    writer = TubesWriter(tmp_path / "t", "s")

    def held(videos):
        for video in videos:
            writer.add(video, "decoder", (4, 4), range(50), np.arange(50.0), rows, slots)
            writer.keep(video)
        return pa.total_allocated_bytes()

    before = held([f"a{i}" for i in range(2)])
    after = held([f"b{i}" for i in range(30)])
    written = writer.finish()
    one_video = pq.ParquetFile(written.path).read_row_group(0).nbytes
    assert after - before < one_video


def test_abort_removes_the_file(tmp_path):
    writer = fill(TubesWriter(tmp_path / "t", "s"))
    writer.abort()
    assert not (tmp_path / "t").exists()


def test_mistakes_are_refused(tmp_path):
    writer = TubesWriter(tmp_path / "t", "s")
    with pytest.raises(ValueError, match="a can't be kept, nothing was added"):
        writer.keep("a")
    given = ((4, 4), [0, 1], [0.0, 0.1])
    for found, match in (
        ([one(), one()], "comes twice in one frame"),
        ([one(position=2)], "a frame that is not stored"),
        ([one(area=0)], "no pixels"),
        ([one(tube=-1)], "negative number"),
    ):
        with pytest.raises(ValueError, match=match):
            writer.add("a", "decoder", *given, found)
    with pytest.raises(ValueError, match="rising frames"):
        writer.add("a", "decoder", (4, 4), [1, 0], [0.0, 0.1], [])
    writer.add("a", "decoder", *given, [one()])
    with pytest.raises(ValueError, match="added already"):
        writer.add("a", "decoder", *given, [])
    with pytest.raises(ValueError, match="differ from those of decoder"):
        writer.add("a", "attention", (4, 5), *given[1:], [])
    with pytest.raises(ValueError, match="a was neither kept nor discarded"):
        writer.add("b", "decoder", *given, [])
    with pytest.raises(ValueError, match="neither kept nor discarded"):
        writer.finish()
    writer.keep("a")
    with pytest.raises(ValueError, match="there already"):
        writer.add("a", "decoder", *given, [])
    writer.abort()


def test_a_full_disk(tmp_path):
    """A store error stays one on its way through pyarrow, and the writer can be aborted after it."""
    (tmp_path / "full").symlink_to("/dev/full")
    writer = TubesWriter(tmp_path / "full", "s")
    rows = [TubeFrame(t, 0, f"{t:x}" * 4000, (0, 0, 2, 2), 4, 0.5) for t in range(400)]
    draw = np.random.default_rng(0)
    slots = {t: draw.standard_normal(4000) for t in range(400)}
    writer.add("a", "decoder", (4, 4), [0], [0.0], rows, slots)
    with pytest.raises(StoreError, match="free some space"):
        writer.keep("a")
    writer.abort()
    assert not (tmp_path / "full").is_symlink()


def test_a_folder_that_cannot_be_written(tmp_path):
    with pytest.raises(OSError):
        TubesWriter(tmp_path / "none" / "t", "s")
