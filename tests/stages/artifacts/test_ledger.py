from __future__ import annotations

import pytest

from stages.artifacts import manifest
from stages.artifacts.commit import RepairRefusedError, commit
from stages.artifacts.ledger import Ledger, current_videos
from stages.outcome import Done, Rejected, Skipped


def current(artifact):
    rows = Ledger.load(artifact).current.to_pylist()
    return {row["video"]: (row["status"], row["shard"]) for row in rows}


def test_manifest_last_and_readable(artifact, written):
    outcomes = [Done("a", {"frames": 3}), Rejected("b", "crash", "it crashed", 2), Skipped("c", "no frame")]
    footer = commit(artifact, "000000", written(), outcomes, "up")
    assert artifact.shard("000000").read_bytes() == b"data"
    assert manifest.read_footer(artifact.manifest("000000")) == footer
    assert [o["status"] for o in footer.outcomes] == ["done", "rejected", "skipped"]
    assert manifest.read_rows(artifact, "000000").column_names == ["video", "offset"]
    assert artifact.committed() == ["000000"]


def test_a_committed_shard_never_changes(artifact, written):
    commit(artifact, "000000", written(b"one"), [Done("a")])
    before = artifact.shard("000000").stat().st_ino
    temp = written(b"two")
    commit(artifact, "000000", temp, [Done("a")])
    assert artifact.shard("000000").read_bytes() == b"one"
    assert artifact.shard("000000").stat().st_ino == before
    assert not temp.path.exists()


def test_repair_replaces_but_never_loses(artifact, written):
    commit(artifact, "000000", written(b"one"), [Done("a"), Done("b")])
    with pytest.raises(RepairRefusedError, match="'b'"):
        commit(artifact, "000000", written(b"x"), [Done("a"), Rejected("b", "unreadable", "gone")], "", True)
    assert artifact.shard("000000").read_bytes() == b"one"
    commit(artifact, "000000", written(b"two"), [Done("a"), Done("b")], "", True)
    assert artifact.shard("000000").read_bytes() == b"two"


def test_later_versions_of_a_source_supersede_all_its_segments(artifact, written):
    commit(artifact, "000000", written(), [Done("a~0000"), Done("a~0001"), Done("b")])
    commit(artifact, "000001", written(), [Done("a")])
    assert current(artifact) == {"a": ("done", "000001"), "b": ("done", "000000")}
    assert Ledger.load(artifact).totals().superseded == 2


def test_segments_of_one_version_may_lie_in_several_shards_below(artifact, written):
    """As tubes of a long file whose features fill two shards, and one of them was retried."""
    commit(artifact, "000000-00-00", written(), [Done("a~0000")], "000000-00")
    commit(artifact, "000000-01-00", written(), [Done("a~0001")], "000000-01")
    commit(artifact, "000000-r00-00", written(), [Done("a~0002")], "000000-r00")
    assert list(current(artifact)) == ["a~0000", "a~0001", "a~0002"]
    commit(artifact, "000003-00-00", written(), [Done("a")], "000003-00")
    assert list(current(artifact)) == ["a"]


def test_a_source_that_went_bad_supersedes_its_result(artifact, written):
    commit(artifact, "000000-00", written(), [Done("a")], "000000")
    commit(artifact, "000001-00", written(), [Skipped("a", "catalog: truncated")], "000001")
    assert current(artifact) == {"a": ("skipped", "000001-00")}


def test_a_retry_with_success_wins_and_a_failed_one_does_not_hide_it(artifact, written):
    commit(artifact, "000000-00", written(), [Rejected("a", "crash", "x"), Done("b")], "000000")
    commit(artifact, "000000-r00", written(), [Done("a")], "000000")
    commit(artifact, "000000-r01", written(), [Rejected("a", "crash", "x")], "000000")
    assert current(artifact) == {"a": ("done", "000000-r00"), "b": ("done", "000000-00")}


def test_touched_files_change_nothing(artifact, written):
    commit(artifact, "000000", written(), [Done("a", {"digest": "d"})])
    commit(artifact, "000001", written(), [Skipped("a", "touched", {"unchanged": True})])
    assert current(artifact) == {"a": ("done", "000000")}
    assert Ledger.load(artifact).digest_of("a") == "d"
    assert Ledger.load(artifact).totals().superseded == 0


def test_the_index_is_only_a_cache(artifact, written):
    commit(artifact, "000000", written(), [Done("b", {"frames": 2})])
    Ledger.load(artifact).save(artifact)
    commit(artifact, "000001", written(), [Done("a", {"frames": 3})])
    loaded = Ledger.load(artifact)
    assert loaded.fresh == 1
    expected = loaded.current.to_pylist()
    loaded.save(artifact)
    assert Ledger.load(artifact).fresh == 0
    assert Ledger.load(artifact).current.to_pylist() == expected
    artifact.index_path.write_bytes(b"rubbish")
    assert Ledger.load(artifact).current.to_pylist() == expected
    artifact.index_path.unlink()
    assert Ledger.load(artifact).totals().frames == 5
    assert current_videos(artifact.root)["video"].to_pylist() == ["a", "b"]


def test_an_index_of_removed_shards_is_not_believed(artifact, written):
    commit(artifact, "000000", written(), [Done("a")])
    commit(artifact, "000001", written(), [Done("b")])
    Ledger.load(artifact).save(artifact)
    artifact.manifest("000001").unlink()
    assert list(current(artifact)) == ["a"]


def test_a_damaged_manifest_is_named(artifact, written):
    commit(artifact, "000000", written(), [Done("a")])
    artifact.manifest("000000").write_bytes(b"PAR1 rubbish")
    with pytest.raises(ValueError, match="toy-000000.parquet is damaged"):
        manifest.read_footer(artifact.manifest("000000"))
