"""The folder beside stores at URLs, shared by processes that may not see each other's ids (containers)."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

import pytest

from stages.artifacts import atomic, scratch
from stages.artifacts.place import StoreError, place
from stages.errors import SettingsError
from tests.outside import PROJECT

HOLDS = "import sys; from stages.artifacts import scratch; p = scratch.temp_path('x'); p.touch()"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TUBEFLOW_SCRATCH", str(tmp_path / "scratch"))
    return tmp_path / "scratch"


def test_what_a_living_process_holds_stays_and_what_a_dead_one_left_goes(folder: Path) -> None:
    """That it lives is seen without its id: in another container that may be anyone's, or nobody's."""
    code = f"{HOLDS}; print(p, flush=True); sys.stdin.read()"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", code], **pipes, text=True, cwd=PROJECT) as process:
        held = Path(process.stdout.readline().strip())
        scratch._tidy(folder)
        assert held.exists()
        process.kill()
    scratch._tidy(folder)
    assert not held.exists() and not list(folder.glob(".*"))


def test_copies_and_foreign_files_go_after_a_week(folder: Path) -> None:
    (old, young), mine = (folder / f"copy-{n * 24}" for n in "01"), folder / "thesis.tex"
    foreign = folder / f".1-{'0' * 32}-of an earlier version"
    for path in (old, young):
        path.mkdir(parents=True)
    for path in (mine, foreign):
        path.touch()
    for path in (old, mine):
        os.utime(path, (time.time() - 8 * 86400,) * 2)
    scratch._tidy(folder)
    assert not old.exists()
    assert young.exists() and foreign.exists() and mine.exists()


def test_a_copy_of_nothing_is_none() -> None:
    where = place(f"memory://{uuid.uuid4().hex}/model/0")
    with pytest.raises(StoreError, match=r"model/0: it is empty, or was replaced meanwhile; run"):
        scratch.mirror(where)
    (where / "m.txt").put(b"x")
    assert (scratch.mirror(where) / "m.txt").read_bytes() == b"x"


def test_the_usual_folder_is_refused_where_it_is_somebody_elses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = os.getuid() + 1
    (tmp_path / f"tubeflow-{user}").mkdir()
    monkeypatch.setattr(os, "getuid", lambda: user)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.delenv("TUBEFLOW_SCRATCH")
    with pytest.raises(SettingsError, match="another user's.*TUBEFLOW_SCRATCH"):
        scratch.folder()


def test_a_full_scratch_folder_is_not_the_store(tmp_path: Path) -> None:
    for path, remedy in ((scratch.temp_path("x.tar"), "TUBEFLOW_SCRATCH"), (tmp_path / "x.tar", "store=")):
        with (
            pytest.raises(StoreError, match=f"can't write {path}.*No space.*{remedy}"),
            atomic.store_errors(path),
        ):
            raise OSError(errno.ENOSPC, "full")
