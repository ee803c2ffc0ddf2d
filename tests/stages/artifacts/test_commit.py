from __future__ import annotations

import pytest

from stages.artifacts import atomic, dropping
from stages.artifacts.commit import commit
from stages.artifacts.place import StoreError
from stages.outcome import Done


@pytest.mark.parametrize("dropped", [False, True])
def test_a_shard_that_goes_before_its_manifest_is_there_is_not_committed(
    artifact, written, monkeypatch, dropped
):
    """It went with ``--gc``, since the process stood still between the two for so long that it was taken for
    dead; unless it went because it is made and used."""
    write = atomic.write_bytes

    def stand_still(path, data):
        artifact.shard("000000").unlink(missing_ok=True)
        write(path, data)
        if dropped:
            write(artifact.dropped_mark("000000"), b"")

    monkeypatch.setattr(atomic, "write_bytes", stand_still)
    if dropped:
        commit(artifact, "000000", written(), [Done("a", {"frames": 1})])
        dropping.drop(artifact, "000000")
        assert artifact.committed() == ["000000"]
        return
    with pytest.raises(StoreError, match=r"000000.*removed.*; run the same command again"):
        commit(artifact, "000000", written(), [Done("a", {"frames": 1})])
    assert artifact.committed() == []
