"""This machine's own disk beside a store that is behind a URL: files in the making, copies of models.

The folder is ``$TUBEFLOW_SCRATCH``, else ``tubeflow-<user>`` where the system keeps temporary files. Nothing
in it is needed by another process, and what killed ones have left there is removed by the next. A process
shows that it lives by the lock on a file, which the system gives back with its end: containers that share the
folder don't see each other's ids.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from stages.artifacts.place import Place, StoreError, Url
from stages.errors import SettingsError

FILES = ".files.json"
"""What a folder at a URL holds, by name: it is complete once this is there. A listing may lag behind."""

_UNUSED_DAYS = 7
_LOCK = ".lock"
_OURS = re.compile(r"(copy|beside)-[0-9a-f]{24}$|\.[0-9a-f]{32}(\.lock$|-)|\.\d+-[0-9a-f]{32}-")


def folder() -> Path:
    """The folder, made and tidied at the first call of a process.

    Raises:
        SettingsError: it is another user's, or can't be made.
    """
    return _own(os.environ.get("TUBEFLOW_SCRATCH", ""), os.getpid())[0]


def _named() -> Path:
    named = os.environ.get("TUBEFLOW_SCRATCH", "")
    return Path(named or Path(tempfile.gettempdir()) / f"tubeflow-{os.getuid()}")


@cache
def _own(named: str, pid: int) -> tuple[Path, str]:
    """The folder, and how the names of this process's files begin."""
    path = _named()
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not named and path.stat().st_uid != os.getuid():
            raise PermissionError(errno.EPERM, "it is another user's")
        _tidy(path)
        start = f".{uuid.uuid4().hex}"
        _lock(path / (start + _LOCK))
    except OSError as error:
        raise SettingsError(
            f"{path} can't be used for files in the making ({error.strerror}): set $TUBEFLOW_SCRATCH to a "
            "folder of your own on a local disk"
        ) from error
    return path, start


def _lock(path: Path) -> None:
    """Hold the file at ``path`` until this process ends, however it ends. Where there are no locks, or
    another process has just tidied it away, only the age of what this one leaves tells that it is left over.
    """
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)  # never closed
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError:
        path.unlink(missing_ok=True)


def holds(path: Path) -> bool:
    """Whether ``path`` is one of `temp_path`."""
    return path.parent == _named()


def temp_path(name: str) -> Path:
    """A path that no other process uses; what is there goes with the process."""
    path, start = _own(os.environ.get("TUBEFLOW_SCRATCH", ""), os.getpid())
    return path / f"{start}-{uuid.uuid4().hex}-{name}"


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
        StoreError: the store can't be reached, or the folder has gone.
        OSError: there is no room for the copy.
    """
    if not isinstance(where, Url):
        yield where
        return
    with temp_folder() as private:
        try:
            for name in _names(where):
                (private / name).parent.mkdir(parents=True, exist_ok=True)
                where.joinpath(*name.split("/")).fetch(private / name)
        except FileNotFoundError as error:
            raise StoreError(
                f"can't read {where}: it is empty, or was replaced meanwhile; run the same command again"
            ) from error
        yield private


def _names(where: Url) -> list[str]:
    """The files of a folder, by their path from there: from a listing only where others have put them there.

    Raises:
        FileNotFoundError: there are none.
    """
    try:
        names: list[str] = json.loads((where / FILES).read_bytes())
    except FileNotFoundError:
        if not (names := list(where.files())):
            raise
    return names


@contextlib.contextmanager
def filled(where: Place) -> Iterator[Path]:
    """The folder itself, or an empty one whose files are uploaded to a URL in the end, if all went well.
    `FILES` comes last, where there are any.
    """
    if not isinstance(where, Url):
        yield where
        return
    with temp_folder() as private:
        yield private
        names = sorted(file.relative_to(private).as_posix() for file in private.rglob("*") if file.is_file())
        for name in names:
            where.joinpath(*name.split("/")).put_file(private / name)
        if names:
            (where / FILES).put(json.dumps(names).encode())


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
    """Remove what dead processes have left, and copies that nobody has used for a week. Other files, of a
    user who has named a folder with more in it, are none of ours.
    """
    listed = [left for left in path.iterdir() if _OURS.match(left.name)]
    locks = {left.name.removesuffix(_LOCK) for left in listed if left.name.endswith(_LOCK)}
    dead = {start for start in locks if not _is_held(path / (start + _LOCK))}
    for left in listed:
        start = left.name.partition("-")[0].removesuffix(_LOCK)
        with contextlib.suppress(OSError):
            old = time.time() - left.stat().st_mtime > _UNUSED_DAYS * 86400
            if start in dead or (old and start not in locks):
                shutil.rmtree(left) if left.is_dir() else left.unlink()


def _is_held(path: Path) -> bool:
    """Whether the process that made the lock at ``path`` lives, as far as can be said."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    return False
