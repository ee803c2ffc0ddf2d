"""A full disk and a store that may not be written: exit 5 with path and bytes, and the next run goes on."""

from __future__ import annotations

import re
import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import cli
from tests.faults.conftest import Command
from tests.faults.processes import run_after
from tests.faults.stores import leftovers, manifests, marks, unchanged
from tests.faults.users import run_as_another

CATALOG_FITS = 16 * 1024
"""Bytes: more than a catalog shard or a record of a run, less than a shard of features."""


def check_message(text: str, store: Path) -> None:
    """It names the path and how many bytes it needs."""
    assert re.search(
        rf"can't write {re.escape(str(store))}\S*\.(tar|parquet)\b.* \([\d,]+ bytes needed\)", text
    ), text
    assert "--set store=" in text


def limit_files() -> None:
    """No file may grow beyond the limit: the system answers EFBIG, as a full disk ENOSPC."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (CATALOG_FITS, CATALOG_FITS))


def test_files_that_may_not_grow(command: Command, reference: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    failed = run_after(limit_files, *command(store), code=5)
    check_message(failed.stderr, store)
    assert manifests(store, "catalog")
    assert not manifests(store, "features")
    assert not leftovers(store), "half a shard was left on a full disk"
    before = marks(store)
    cli.run(*command(store))
    assert unchanged(before, store)
    assert cli.digests(store) == cli.digests(reference)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system in memory with room for some shards of the corpus, but not for all."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", folder], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"mounting a small file system is not allowed here: {mounted.stderr.splitlines()[0]}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def test_a_disk_that_fills_up(command: Command, reference: Path, small_disk: Path) -> None:
    store = small_disk / "store"
    failed = cli.run(*command(store), code=5)
    check_message(failed.stderr, store)
    before = marks(store)
    assert before
    cli.run(*command(store), code=5)
    assert unchanged(before, store)
    subprocess.run(["mount", "-o", "remount,size=8m", small_disk], check=True)
    cli.run(*command(store))
    assert unchanged(before, store)
    assert cli.digests(store) == cli.digests(reference)


@pytest.fixture
def locked(open_corpus: Path, open_folder: Path) -> Iterator[Path]:
    """The store of a run over half the corpus, in which nothing may be written any more."""
    store = open_folder / "store"
    run_as_another(open_folder, *Command(open_corpus)(store), "--limit", 4, code=0)
    folders = [store, *(path for path in store.rglob("*") if path.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    yield store
    for folder in folders:
        folder.chmod(0o755)


def test_a_read_only_store(open_corpus: Path, open_folder: Path, locked: Path) -> None:
    """A run ends with exit 5 and the path; looking at the store works."""
    command, before = Command(open_corpus)(locked), marks(locked)
    failed = run_as_another(open_folder, *command, code=5)
    assert f"can't write {locked}" in failed.stderr
    assert "bytes needed" in failed.stderr
    assert "4 files new" in run_as_another(open_folder, *command, "--plan", code=0).stdout
    for look in ("--verify", "--du", "--status", "--gc"):
        run_as_another(open_folder, *command, look, code=0)
    assert unchanged(before, locked)


def test_a_store_that_cannot_be_made(open_corpus: Path, open_folder: Path) -> None:
    (open_folder / "locked").mkdir(mode=0o555)
    store = open_folder / "locked" / "store"
    command = Command(open_corpus)(store)
    assert f"can't write {store}" in run_as_another(open_folder, *command, code=5).stderr
    assert "first time" in run_as_another(open_folder, *command, "--plan", code=0).stdout


def test_a_store_that_is_a_file(command: Command, tmp_path: Path) -> None:
    (tmp_path / "store").write_text("a file")
    assert f"store={tmp_path / 'store'} is a file" in cli.run(*command(tmp_path / "store"), code=2).stderr
