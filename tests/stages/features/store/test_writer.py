import hashlib
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from crc32c import crc32c

from stages.artifacts.atomic import StoreError
from stages.features.store.schema import FEATURE_ROWS
from stages.features.store.writer import FeatureShardWriter
from tests.stages.features.store.making import add_video, features, source_frames

SHAPES = {"tokens": (6, 8), "keys": (6, 8), "cls": (8,)}
VIEWS = ("base", "flip")


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[FeatureShardWriter]:
    writer = FeatureShardWriter(tmp_path / "a", "000000")
    yield writer
    writer.abort()


def write(path: Path, videos: dict[str, int], encoding: str = "fp16") -> FeatureShardWriter:
    writer = FeatureShardWriter(path, "000000", encoding)
    for video, count in videos.items():
        add_video(writer, video, count, SHAPES, VIEWS)
        writer.keep(video)
    return writer


@pytest.mark.parametrize("encoding", ["fp16", "int8"])
def test_equal_input_gives_equal_bytes_and_the_digest_is_theirs(tmp_path: Path, encoding: str) -> None:
    first = write(tmp_path / "a", {"x": 3, "y": 2}, encoding).finish()
    second = write(tmp_path / "b", {"x": 3, "y": 2}, encoding).finish()
    data = first.path.read_bytes()
    assert data == second.path.read_bytes()
    assert first.rows.equals(second.rows)
    assert first.sha256 == second.sha256 == hashlib.sha256(data).hexdigest()
    assert first.bytes == len(data)


def test_facet_by_facet_and_frame_by_frame_give_the_same_bytes(tmp_path: Path) -> None:
    by_facet = FeatureShardWriter(tmp_path / "b", "000000")
    for view in VIEWS:
        for facet, shape in SHAPES.items():
            for frame in source_frames(3):
                by_facet.add("x", frame, frame / 25, facet, features("x", frame, facet, shape, view), view)
    by_facet.keep("x")
    assert by_facet.finish().sha256 == write(tmp_path / "a", {"x": 3}).finish().sha256


def test_the_rows_describe_the_members(tmp_path: Path) -> None:
    written = write(tmp_path / "a", {"x": 3, "y": 2}).finish()
    assert written.rows.schema.equals(FEATURE_ROWS)
    data = written.path.read_bytes()
    with tarfile.open(written.path) as file:
        members = {m.offset_data: m for m in file}
    rows = written.rows.to_pylist()
    assert len(rows) == len(members) == (3 + 2) * len(SHAPES) * len(VIEWS)
    for row in rows:
        member = members[row["offset"]]
        view = "" if row["view"] == "base" else row["view"] + "."
        assert member.name == f"{row['video']}.f{row['frame']:05d}.{view}{row['facet']}.npy"
        payload = data[row["offset"] : row["offset"] + row["size"]]
        assert (member.size, crc32c(payload)) == (row["size"], row["crc32c"])
        array = np.frombuffer(payload[-2 * int(np.prod(row["shape"])) :], row["dtype"]).reshape(row["shape"])
        expected = features(row["video"], row["frame"], row["facet"], tuple(row["shape"]), row["view"])
        np.testing.assert_array_equal(array, expected)
        assert row["pts"] == row["frame"] / 25
        assert row["shard"] == "000000"


def test_a_video_is_contiguous_and_so_is_each_facet_of_it(tmp_path: Path) -> None:
    rows = write(tmp_path / "a", {"x": 3, "y": 2}).finish().rows.to_pylist()
    order = [(r["video"], r["view"], r["facet"]) for r in sorted(rows, key=lambda r: r["offset"])]
    runs = [key for i, key in enumerate(order) if i == 0 or key != order[i - 1]]
    assert len(runs) == len(set(runs)) == 2 * len(SHAPES) * len(VIEWS)
    assert [r["offset"] for r in rows] == sorted(r["offset"] for r in rows)


@pytest.mark.parametrize("encoding", ["fp16", "int8"])
@pytest.mark.parametrize("dropped", ["a", "m", "z"])
def test_a_discarded_video_leaves_no_trace(tmp_path: Path, encoding: str, dropped: str) -> None:
    undisturbed = write(tmp_path / "a", {"b": 2, "p": 3}, encoding).finish()
    writer = FeatureShardWriter(tmp_path / "b", "000000", encoding)
    for video, count in sorted({"b": 2, "p": 3, dropped: 4}.items()):
        add_video(writer, video, count, SHAPES, VIEWS)
        writer.discard(video) if video == dropped else writer.keep(video)
    disturbed = writer.finish()
    assert disturbed.path.read_bytes() == undisturbed.path.read_bytes()
    assert (disturbed.sha256, disturbed.bytes) == (undisturbed.sha256, undisturbed.bytes)
    assert disturbed.rows.equals(undisturbed.rows)


def test_a_video_may_be_discarded_before_anything_was_added_and_come_again(
    writer: FeatureShardWriter,
) -> None:
    writer.discard("x")
    add_video(writer, "x", 1)
    writer.discard("x")
    add_video(writer, "x", 2)
    writer.keep("x")
    assert writer.finish().rows.num_rows == 2


def test_a_shard_without_videos_is_an_empty_archive(tmp_path: Path) -> None:
    written = FeatureShardWriter(tmp_path / "a", "000000").finish()
    assert written.rows.num_rows == 0
    with tarfile.open(written.path) as file:
        assert file.getmembers() == []


def test_abort_leaves_nothing_behind(tmp_path: Path) -> None:
    writer = FeatureShardWriter(tmp_path / "a", "000000")
    add_video(writer, "x", 2, SHAPES)
    writer.abort()
    assert list(tmp_path.iterdir()) == []


def test_facets_that_wait_have_no_name_on_the_disk(tmp_path: Path, writer: FeatureShardWriter) -> None:
    add_video(writer, "x", 2, SHAPES, VIEWS)
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def array(*shape: int) -> np.ndarray:
    return np.ones(shape, np.float16)


@pytest.mark.parametrize("video", ["", "a.b", "a/b", "a\0b"])
def test_ids_that_webdataset_would_split_are_refused(writer: FeatureShardWriter, video: str) -> None:
    with pytest.raises(ValueError, match="can't be a key"):
        writer.add(video, 0, 0.0, "tokens", array(2, 2))


@pytest.mark.parametrize("facet", ["", "Tokens", "a.b", "1a", "tokens_scale", "a-b"])
def test_names_that_a_member_could_not_carry_are_refused(writer: FeatureShardWriter, facet: str) -> None:
    with pytest.raises(ValueError, match="can't name a facet"):
        writer.add("v", 0, 0.0, facet, array(2, 2))
    with pytest.raises(ValueError, match="can't name a view"):
        writer.add("v", 0, 0.0, "tokens", array(2, 2), view=facet)


def test_a_name_too_long_for_ustar_is_refused(writer: FeatureShardWriter) -> None:
    with pytest.raises(ValueError, match="USTAR allows 100"):
        writer.add("v" * 90, 0, 0.0, "tokens", array(2, 2))


def test_frames_must_rise_and_shapes_must_not_change(writer: FeatureShardWriter) -> None:
    writer.add("v", 5, 0.0, "tokens", array(2, 2))
    for frame in (5, 4, -1):
        with pytest.raises(ValueError, match=f"frame {frame} of v"):
            writer.add("v", frame, 0.0, "tokens", array(2, 2))
    with pytest.raises(ValueError, match=r"\(3, 2\) after \(2, 2\)"):
        writer.add("v", 6, 0.0, "tokens", array(3, 2))


def test_facets_must_have_the_same_frames(writer: FeatureShardWriter) -> None:
    for frame in range(2):
        writer.add("v", frame, 0.0, "tokens", array(2, 2))
    writer.add("v", 0, 0.0, "keys", array(2, 2))
    with pytest.raises(ValueError, match=r"base/keys has other frames \(1\) than base/tokens \(2\)"):
        writer.keep("v")


def test_videos_must_be_closed_and_come_once(writer: FeatureShardWriter) -> None:
    with pytest.raises(ValueError, match="nothing was added"):
        writer.keep("v")
    add_video(writer, "v", 1)
    for step in (lambda: add_video(writer, "w", 1), lambda: writer.keep("w"), lambda: writer.discard("w")):
        with pytest.raises(ValueError, match="w"):
            step()
    with pytest.raises(ValueError, match="neither kept nor discarded"):
        writer.finish()
    writer.keep("v")
    with pytest.raises(ValueError, match="already in shard"):
        add_video(writer, "v", 1)


def test_features_that_are_not_finite_name_their_frame(writer: FeatureShardWriter) -> None:
    with pytest.raises(ValueError, match=r"video v, frame 7, base/tokens: .*NaN"):
        writer.add("v", 7, 0.0, "tokens", np.full((2, 2), np.nan))


def test_unknown_encodings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="fp16"):
        FeatureShardWriter(tmp_path / "a", "0", "int4")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_is_named_with_the_bytes_needed(tmp_path: Path) -> None:
    (tmp_path / "shard").symlink_to("/dev/full")
    writer = FeatureShardWriter(tmp_path / "shard", "0")
    with pytest.raises(StoreError, match=r"/shard \([\d,]+ bytes needed\): No space left"):
        for frame in range(4):
            writer.add("v", frame, 0.0, "tokens", array(512, 1024))
    writer.abort()
    assert list(tmp_path.iterdir()) == []
