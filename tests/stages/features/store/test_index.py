import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from stages.artifacts.commit import commit
from stages.artifacts.layout import Artifact
from stages.features.store import index_build, locate
from stages.features.store.reader import FeatureStore
from stages.features.store.writer import FeatureShardWriter
from stages.outcome import Done, Rejected, Skipped
from tests.outside import PROJECT
from tests.stages.features.store.making import add_video, features, make_store, source_frames, write_shard


def lookups(root: Path) -> list[Path]:
    return sorted((root / locate.FOLDER).glob("*.lookup.arrow"))


def test_videos_of_many_shards_and_batches_are_found_and_sorted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shards that are out of order among themselves, as they are once a store has grown."""
    monkeypatch.setattr(index_build, "_BATCH_VIDEOS", 7)
    names = [f"v{n:03d}" for n in np.random.default_rng(0).permutation(50)]
    counts = {name: 1 + int(name[1:]) % 4 for name in names}
    shards = [{name: counts[name] for name in names[i : i + 5]} for i in range(0, 50, 5)]
    store = FeatureStore(make_store(tmp_path / "s", shards, {"tokens": (2, 3)}).root)
    assert list(store.videos) == sorted(names)
    assert store.counts().tolist() == [counts[name] for name in sorted(names)]
    assert len(store._index._batches) > 3
    for name, count in counts.items():
        assert store.frames(name)[0].tolist() == source_frames(count)
        expected = [features(name, frame, "tokens", (2, 3)) for frame in source_frames(count)]
        np.testing.assert_array_equal(store.array(name), np.stack(expected))


def test_a_second_opening_uses_the_index_that_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_store(tmp_path / "s", [{"a": 2}]).root
    FeatureStore(root)
    monkeypatch.setattr(locate, "build", None)
    assert list(FeatureStore(root).videos) == ["a"]


def test_a_grown_store_has_another_index(tmp_path: Path) -> None:
    artifact = make_store(tmp_path / "s", [{"b": 2}])
    before = FeatureStore(artifact.root)
    write_shard(artifact, "000001", {"a": 3})
    assert list(FeatureStore(artifact.root).videos) == ["a", "b"]
    assert list(before.videos) == ["b"]  # a store stays as it was opened
    assert before.clip("b").shape == (2, 6, 8)
    assert len(lookups(artifact.root)) == 2


def test_a_repaired_shard_has_another_index(tmp_path: Path) -> None:
    artifact = make_store(tmp_path / "s", [{"a": 2}])
    FeatureStore(artifact.root)
    writer = FeatureShardWriter(tmp_path / "s" / "shards" / ".again.tmp", "000000")
    for frame in source_frames(2):
        writer.add("a", frame, frame / 25, "tokens", np.full((6, 8), frame, np.float16))
    writer.keep("a")
    commit(artifact, "000000", writer.finish(), [Done("a", {"frames": 2})], replace=True)
    clip = FeatureStore(artifact.root, verify=True).clip("a")
    assert clip[:, 0, 0].tolist() == source_frames(2)


@pytest.mark.parametrize("part", ["lookup", "entries"])
@pytest.mark.parametrize("damage", ["removed", "emptied", "cut"])
def test_a_damaged_index_is_built_again(tmp_path: Path, part: str, damage: str) -> None:
    root = make_store(tmp_path / "s", [{"a": 2}]).root
    FeatureStore(root)
    (path,) = (root / locate.FOLDER).glob(f"*.{part}.arrow")
    if damage == "removed":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[: 0 if damage == "emptied" else 100])
    assert FeatureStore(root).clip("a").shape == (2, 6, 8)


def test_indexes_unused_for_a_week_are_removed(tmp_path: Path) -> None:
    artifact = make_store(tmp_path / "s", [{"a": 2}])
    FeatureStore(artifact.root)
    week_ago = time.time() - 8 * 86400
    for path in (artifact.root / locate.FOLDER).iterdir():
        os.utime(path, (week_ago, week_ago))
    write_shard(artifact, "000001", {"b": 2})
    FeatureStore(artifact.root)
    assert len(list((artifact.root / locate.FOLDER).iterdir())) == 2


def test_only_current_videos_with_a_result_are_there(tmp_path: Path) -> None:
    """A reject, a skip, and a video that a later shard supersedes."""
    artifact = make_store(tmp_path / "s", [{"old": 2, "stays": 2}])
    writer = FeatureShardWriter(artifact.root / "shards" / ".1.tmp", "000001")
    for video, count in (("bad", 2), ("none", 1), ("old", 3)):
        add_video(writer, video, count)
        writer.keep(video) if video == "old" else writer.discard(video)
    outcomes = [
        Rejected("bad", "truncated", "it ends early"),
        Skipped("none", "no frame falls into it"),
        Done("old", {"frames": 3}),
    ]
    commit(artifact, "000001", writer.finish(), outcomes)
    store = FeatureStore(artifact.root)
    assert list(store.videos) == ["old", "stays"]
    assert store.clip("old").shape == (3, 6, 8)


def test_an_artifact_without_shards_has_no_videos(tmp_path: Path) -> None:
    store = FeatureStore(make_store(tmp_path / "s", []).root)
    assert (len(store), list(store.videos), store.counts().tolist(), store.facets) == (0, [], [], ())
    with pytest.raises(KeyError, match="among the 0"):
        store.clip("a")


def test_what_is_no_artifact_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"holds no stage\.json"):
        FeatureStore(tmp_path)


def test_a_manifest_that_lacks_a_video_is_named(tmp_path: Path) -> None:
    artifact = make_store(tmp_path / "s", [{"a": 2}])
    writer = FeatureShardWriter(tmp_path / "t", "000001")
    commit(artifact, "000001", writer.finish(), [Done("ghost", {"frames": 2})])
    with pytest.raises(ValueError, match=r"features-000001\.parquet has no rows for video ghost"):
        FeatureStore(artifact.root)
    assert list((artifact.root / locate.FOLDER).iterdir()) == []


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that other users can reach, unlike pytest's own."""
    folder = Path(tempfile.mkdtemp(prefix="tubeflow-test-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def test_a_read_only_store_is_indexed_elsewhere(open_folder: Path) -> None:
    artifact = make_store(open_folder / "s", [{"a": 2}, {"b": 3}])
    temporary = open_folder / "tmp"
    temporary.mkdir()
    temporary.chmod(0o777)
    folders = [path for path in artifact.root.rglob("*") if path.is_dir()]
    for folder in [*folders, artifact.root]:
        folder.chmod(0o555)
    code = (  # root imports, since others may not be able to read its Python, and then is root no more
        "import os; from stages.features.store.reader import FeatureStore; "
        "os.geteuid() or (os.setgroups([]), os.setgid(65534), os.setuid(65534)); "
        f"store = FeatureStore({str(artifact.root)!r}); assert store.array('b').shape == (3, 6, 8); "
        f"print(len(store), *os.listdir({str(temporary)!r}))"
    )
    environment = {**os.environ, "TMPDIR": str(temporary)}
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT, env=environment, capture_output=True, text=True
    )
    for folder in [artifact.root, *folders]:
        folder.chmod(0o755)
    assert found.returncode == 0, found.stderr
    count, *names = found.stdout.split()
    assert count == "2"
    assert [name.startswith("tubeflow-index-") for name in names] == [True]
    assert list(temporary.iterdir()) == []  # and gone with the process
    assert not (artifact.root / locate.FOLDER).exists()


def test_the_index_is_found_in_a_cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    artifact = make_store(tmp_path / "s", [{"a": 2}])
    FeatureStore(artifact.root, cache=tmp_path / "cache")
    assert not (artifact.root / locate.FOLDER).exists()
    monkeypatch.setattr(locate, "build", None)
    assert len(FeatureStore(artifact.root, cache=tmp_path / "cache")) == 1


def test_building_holds_one_batch_and_not_the_corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many videos there are, a batch of the entries never outgrows its limit by more than a shard."""
    monkeypatch.setattr(index_build, "_BATCH_VIDEOS", 6)
    seen = []
    record = index_build._Batch.record
    monkeypatch.setattr(
        index_build._Batch, "record", lambda self: seen.append(len(self.shard)) or record(self)
    )
    shards = [{f"v{s:02d}{i}": 1 for i in range(4)} for s in range(12)]
    make_store(tmp_path / "s", shards, {"tokens": (1, 2)})
    FeatureStore(Artifact.at(tmp_path / "s").root)
    assert sum(seen) == 48
    assert max(seen) < 6 + 4


def test_an_index_made_before_there_were_banks_is_read(tmp_path: Path) -> None:
    artifact = make_store(tmp_path / "s", [{"a": 2, "b": 3}], views=("base", "flip"))
    FeatureStore(artifact.root)
    (entries,) = (artifact.root / locate.FOLDER).glob("*.entries.arrow")
    table = pa.ipc.open_file(pa.OSFile(str(entries))).read_all().drop_columns("length")
    entries.unlink()
    with pa.OSFile(str(entries), "wb") as sink, pa.ipc.new_file(sink, table.schema) as file:
        file.write_table(table)
    store = FeatureStore(artifact.root)
    assert store.counts().tolist() == [2, 3] and store.count("b", "bank") == 0
    for video, count in (("a", 2), ("b", 3)):
        expected = [features(video, frame, "tokens", (6, 8), "flip") for frame in source_frames(count)]
        np.testing.assert_array_equal(store.array(video, view="flip"), np.stack(expected))
