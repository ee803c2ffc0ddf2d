"""``--gc`` removes what killed runs left and only that, beside living runs too."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from tests import cli
from tests.faults.conftest import PER_SHARD, Command
from tests.faults.gates import shut
from tests.faults.processes import started
from tests.faults.stores import artifact, half_made, leftovers, marks, unchanged


def test_gc_leaves_living_runs_alone_and_removes_what_killed_ones_left(
    command: Command, video: Callable[[int], Path], reference: Path, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    with shut(video(PER_SHARD + 1)) as gate, started(*command(store)) as run:
        run.until(lambda: gate.reached, "shard that is being made")
        (temporary,) = half_made(store)
        spared = cli.run(*command(store), "--gc", "--yes").stdout
        assert "works on it" in spared and "0 files, 0 B removed" in spared
        assert temporary.exists()
        run.kill_tree()
    assert temporary.exists()
    features = artifact(store, "features")
    orphan = features.shard("000003-00")  # as a kill between the renames of shard and manifest leaves it
    shutil.copy(artifact(reference, "features").shard("000003-00"), orphan)
    unsealed = features.root.parent / "other-00000000" / ".stage.json.0.tmp"  # killed at its very start
    unsealed.parent.mkdir()
    unsealed.touch()
    half = artifact(store, "features").root.parents[1] / "summary" / "summary-00000000" / ".0.tmp"
    half.mkdir(parents=True)  # killed while it made the summary
    (half / "summary.json").touch()
    stale_beat = next(store.glob("runs/*")) / ".status.json.0.tmp"
    stale_beat.touch()
    before = marks(store)
    left = (orphan, unsealed, half, half / "summary.json", stale_beat, *leftovers(store))

    for path in left:
        os.utime(path, (time.time() + 3600,) * 2)  # however long it takes until they are looked at
    young = cli.run_json(*command(store), "--gc", "--yes")
    assert {file["why"] for file in young["files"]} <= {"lease of a run that has ended"}
    assert str(orphan) in {file["path"] for file in young["left"]}, "a run may just begin"
    for path in left:
        os.utime(path, (time.time() - 120,) * 2)
    listed = {Path(f["path"]) for f in cli.run_json(*command(store), "--gc")["files"]}
    assert listed >= {orphan, unsealed, stale_beat, half, *leftovers(features.root)}
    assert all(path.exists() for path in listed)
    removed = cli.run_json(*command(store), "--gc", "--yes")
    assert {Path(f["path"]) for f in removed["files"]} == listed
    assert not any(path.exists() for path in listed)
    assert not leftovers(store)
    assert unchanged(before, store)
    cli.run(*command(store))
    assert unchanged(before, store)
    assert cli.digests(store) == cli.digests(reference)


def test_gc_of_a_finished_store_finds_nothing(command: Command, reference: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in reference.rglob("*")}
    assert cli.run_json(*command(reference), "--gc", "--yes")["files"] == []
    assert {path: path.stat().st_mtime_ns for path in reference.rglob("*")} == before
