"""This machine's own disk beside a store at a URL: what is said where it fails."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from stages.artifacts import atomic, scratch
from stages.artifacts.place import StoreError


def test_a_full_scratch_folder_is_not_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUBEFLOW_SCRATCH", str(tmp_path / "scratch"))
    for path, remedy in ((scratch.temp_path("x.tar"), "TUBEFLOW_SCRATCH"), (tmp_path / "x.tar", "store=")):
        with (
            pytest.raises(StoreError, match=f"can't write {path}.*No space.*{remedy}"),
            atomic.store_errors(path),
        ):
            raise OSError(errno.ENOSPC, "full")


def test_a_scratch_folder_that_can_not_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("TUBEFLOW_SCRATCH", str(tmp_path / "file"))
    with pytest.raises(StoreError, match=r"file for files in the making: File exists; set TUBEFLOW_SCRATCH"):
        scratch.folder()
