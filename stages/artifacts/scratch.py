"""This machine's own disk beside a store that is behind a URL: files in the making, copies of models.

The folder is ``$TUBEFLOW_SCRATCH``, else ``tubeflow-<user>`` where the system keeps temporary files. Nothing
in it is needed by another process, and what killed ones have left there is removed by the next.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import psutil

from stages.artifacts.place import Place, StoreError, Url

_UNUSED_DAYS = 7


def folder() -> Path:
    """The folder, made and tidied at the first call of a process.

    Raises:
        StoreError: it can't be made.
    """
    return _made(_place(), os.getpid())


def _place() -> Path:
    named = os.environ.get("TUBEFLOW_SCRATCH", "")
    return Path(named or Path(tempfile.gettempdir()) / f"tubeflow-{os.getuid()}")


@cache
def _made(path: Path, pid: int) -> Path:
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        _tidy(path)
    except OSError as error:
        raise StoreError(
            f"can't use {path} for files in the making: {error.strerror}; set TUBEFLOW_SCRATCH to another "
            "folder"
        ) from error
    return path


def holds(path: Path) -> bool:
    """Whether ``path`` is one of `temp_path`."""
    return path.parent == _place()


def temp_path(name: str) -> Path:
    """A path that no other process uses; what is there goes with the process."""
    return folder() / f".{os.getpid()}-{uuid.uuid4().hex}-{name}"


@contextlib.contextmanager
def temp_folder() -> Iterator[Path]:
    """A folder that is removed in the end."""
    path = temp_path("folder")
    path.mkdir()
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def copied(where: Place) -> Iterator[Path]:
    """The folder itself, or for the time being a local copy of one at a URL.

    Raises:
        StoreError: the store can't be reached.
        OSError: there is no room for the copy.
    """
    if not isinstance(where, Url):
        yield where
        return
    with temp_folder() as private:
        for name in where.files():
            (private / name).parent.mkdir(parents=True, exist_ok=True)
            where.joinpath(*name.split("/")).fetch(private / name)
        yield private


@contextlib.contextmanager
def filled(where: Place) -> Iterator[Path]:
    """The folder itself, or an empty one whose files are uploaded to a URL in the end, if all went well."""
    if not isinstance(where, Url):
        yield where
        return
    with temp_folder() as private:
        yield private
        for file in sorted(private.rglob("*")):
            if file.is_file():
                where.joinpath(*file.relative_to(private).parts).put_file(file)


def beside(where: Place) -> Path:
    """The folder itself, or one on this machine that stands for one at a URL: what is in it may get lost."""
    if not isinstance(where, Url):
        return where
    return folder() / f"beside-{_key(where)}"


def mirror(where: Place) -> Path:
    """The folder itself, or a local copy of one that never changes at a URL; made once per machine.

    Raises:
        StoreError: the store can't be reached.
        OSError: there is no room for the copy.
    """
    if not isinstance(where, Url):
        return where
    copy = folder() / f"copy-{_key(where)}"
    if not copy.is_dir():
        with copied(where) as private, contextlib.suppress(OSError):  # another process was first
            private.rename(copy)
    with contextlib.suppress(OSError):
        os.utime(copy)  # in use: see _tidy
    return copy


def _key(where: Url) -> str:
    return hashlib.sha256(str(where).encode()).hexdigest()[:24]


def _tidy(path: Path) -> None:
    """Remove what dead processes have left, and copies that nobody has used for a week."""
    for left in path.iterdir():
        with contextlib.suppress(OSError, ValueError):
            if left.name.startswith("."):
                unused = not psutil.pid_exists(int(left.name[1:].partition("-")[0]))
            else:
                unused = time.time() - left.stat().st_mtime > _UNUSED_DAYS * 86400
            if unused:
                shutil.rmtree(left) if left.is_dir() else left.unlink()
