"""The same bytes whatever the number of workers and runs; a run with nothing to do starts no process."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import cli
from tests.faults.conftest import Command
from tests.faults.processes import started
from tests.faults.stores import leftovers, marks, unchanged


def test_four_local_workers_give_the_bytes_of_one(command: Command, reference: Path, tmp_path: Path) -> None:
    cli.run(*command(tmp_path / "store", "--workers", 4))
    assert cli.digests(tmp_path / "store") == cli.digests(reference)


def test_simultaneous_runs_end_like_a_single_one(command: Command, reference: Path, tmp_path: Path) -> None:
    """Two runs begin at once on an empty store, one of them with a pool."""
    store = tmp_path / "store"
    with started(*command(store)) as one, started(*command(store, "--workers", 2)) as other:
        one.wait(0)
        other.wait(0)
    assert cli.digests(store) == cli.digests(reference)
    assert not leftovers(store)
    before = marks(store)
    assert "nothing to do" in cli.run(*command(store)).stdout
    assert unchanged(before, store)


@pytest.fixture
def watched(tmp_path: Path) -> dict[str, str]:
    """An environment in which Python notes every process that it starts in a file."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(
        "import os, sys\n"
        "NAMES = ('subprocess.Popen', 'os.fork', 'os.forkpty', 'os.posix_spawn', 'os.system')\n"
        "def note(event, args):\n"
        "    if event in NAMES:\n"
        "        with open(os.environ['STARTED'], 'a') as file:\n"
        "            file.write(f'{event} {args[:2]}\\n')\n"
        "sys.addaudithook(note)\n"
    )
    return {"PYTHONPATH": str(tmp_path / "site"), "STARTED": str(tmp_path / "started")}


def test_a_run_with_nothing_to_do_starts_no_process(
    command: Command, tmp_path: Path, watched: dict[str, str], short_folder: Path
) -> None:
    """The third run, with either runner: no decoder, no pool, no Ray."""
    store, log = tmp_path / "store", Path(watched["STARTED"])
    cli.run(*command(store), **watched)
    assert "stages.decode.child" in log.read_text(), "the watch works: the first run has started decoders"
    before = marks(store)
    for runner in ("local", "ray"):
        log.unlink(missing_ok=True)
        again = cli.run(*command(store, runner=runner), RAY_TMPDIR=str(short_folder), **watched)
        assert "nothing to do" in again.stdout
        assert not log.exists(), log.read_text()
        assert not list(short_folder.iterdir()), "Ray was started"
    assert unchanged(before, store)


def test_the_summary_of_a_run_with_nothing_to_do_is_the_same(command: Command, reference: Path) -> None:
    one, other = (cli.run_json(*command(reference)) for _ in range(2))
    assert one["exit_code"] == 0
    assert one["totals"] == other["totals"]
    assert one["totals"]["features"]["done"] == one["totals"]["catalog"]["done"] > 0
