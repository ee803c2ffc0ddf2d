"""``--gc`` refuses while a run lives, and afterwards removes what killed runs left, and only that."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from tests import cli
from tests.faults.conftest import Command
from tests.faults.processes import started, wait_until
from tests.faults.stores import artifact, leftovers, manifests, marks, unchanged


def age(store: Path, seconds: float) -> None:
    """Make the last sign of life of every run so much older."""
    for path in store.glob("runs/*/status.json"):
        status = json.loads(path.read_text())
        path.write_text(json.dumps(status | {"heartbeat": status["heartbeat"] - seconds}))


def test_gc_waits_for_living_runs_and_removes_what_killed_ones_left(
    command: Command, reference: Path, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    with started(*command(store)) as run:
        wait_until(lambda: manifests(store, "features") or run.ended, "features shard")
        with run.paused():
            refused = cli.run(*command(store), "--gc", "--yes", code=2)
        assert "was alive" in refused.stderr
        wait_until(
            lambda: any(".tar." in path.name for path in leftovers(store)) or run.ended, "temporary shard"
        )
        assert not run.ended, run.output
        run.kill_tree()
    features = artifact(store, "features")
    orphan = features.shard("000003-00")  # as a kill between the renames of shard and manifest leaves it
    shutil.copy2(artifact(reference, "features").shard("000003-00"), orphan)
    unsealed = features.root.parent / "other-00000000" / ".stage.json.0.tmp"  # killed at its very start
    unsealed.parent.mkdir()
    unsealed.touch()
    half = artifact(store, "features").root.parents[1] / "summary" / "summary-00000000" / ".0.tmp"
    half.mkdir(parents=True)  # killed while it made the summary
    (half / "summary.json").touch()
    stale_beat = next(store.glob("runs/*")) / ".status.json.0.tmp"
    stale_beat.touch()
    before = marks(store)

    age(store, 500)
    cli.run(*command(store), "--gc", "--yes", code=2)
    age(store, 110)
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
