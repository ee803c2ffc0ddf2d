"""Writes that are either wholly there or not there at all: temporary file, fsync, rename; at a URL one PUT.

A killed process leaves nothing but hidden ``.*.tmp`` files, which no reader looks at and ``--gc`` removes; at
a URL parts of an upload that was never completed.
"""

from __future__ import annotations

import contextlib
import errno
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

from stages.artifacts import scratch
from stages.artifacts.place import Place, StoreError, Url

__all__ = [
    "TEMP_SUFFIX", "StoreError", "create", "is_temp", "publish", "removed", "store_errors", "sync_folder",
    "temp_path", "write_bytes",
]  # fmt: skip

TEMP_SUFFIX = ".tmp"

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NO_ACCESS = {errno.EROFS, errno.EACCES, errno.EPERM}


@contextlib.contextmanager
def store_errors(path: Place, needed: int | None = None) -> Iterator[None]:
    """Turns the operating system's refusals to write ``path`` (``needed`` bytes) into `StoreError`."""
    try:
        yield
    except StoreError:
        raise
    except OSError as error:
        size = "" if needed is None else f" ({needed:,} bytes needed)"
        if error.errno in _NO_ROOM:
            advice = "free some space, or choose another store with --set store=FOLDER, and run again"
        elif error.errno in _NO_ACCESS:
            advice = "make it writable, or choose another store with --set store=FOLDER"
        else:
            raise
        raise StoreError(f"can't write {path}{size}: {os.strerror(error.errno)}; {advice}") from error


def temp_path(path: Place) -> Path:
    """A hidden name that no other process uses: beside ``path``, or on this machine where that is a URL."""
    if isinstance(path, Url):
        return scratch.temp_path(path.name)
    return path.with_name(f".{path.name}.{uuid.uuid4().hex}{TEMP_SUFFIX}")


def is_temp(path: Place) -> bool:
    """Whether ``path`` is a left-over or living temporary file of this module."""
    return path.name.startswith(".") and path.name.endswith(TEMP_SUFFIX)


def sync_folder(folder: Path) -> None:
    """Make renames in ``folder`` durable, where the system lets folders be opened."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    except OSError:
        pass  # some network file systems refuse it; the rename itself has happened
    finally:
        os.close(descriptor)


def _write_temp(path: Path, data: bytes) -> Path:
    """Write ``data`` durably beside ``path`` and return the temporary file."""
    with store_errors(path, len(data)):
        path.parent.mkdir(parents=True, exist_ok=True)
        temp = temp_path(path)
        try:
            with temp.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            temp.unlink(missing_ok=True)
            raise
    return temp


def publish(temp: Path, path: Place) -> None:
    """Give the finished temporary file its final name; at a URL, upload and remove it."""
    if isinstance(path, Url):
        try:
            path.put_file(temp)
        finally:
            temp.unlink(missing_ok=True)
        return
    with store_errors(path):
        try:
            temp.replace(path)
        except FileNotFoundError as error:
            raise removed(path) from error
    sync_folder(path.parent)


def removed(path: Place) -> StoreError:
    """What to raise where a file went while it was made: a process that gave no sign of life for long."""
    return StoreError(
        f"can't write {path}: what was written so far was removed meanwhile; run the same command again"
    )


def write_bytes(path: Place, data: bytes) -> None:
    """Replace ``path`` by ``data`` atomically and durably."""
    if isinstance(path, Url):
        path.put(data)
        return
    publish(_write_temp(path, data), path)


def create(path: Place, data: bytes) -> bool:
    """Write ``data`` to ``path`` unless it exists already; whether this call created it.

    Of several processes that try, exactly one succeeds, and its file is complete when it appears.
    """
    if isinstance(path, Url):
        return path.put_new(data)
    temp = _write_temp(path, data)
    try:
        with store_errors(path, len(data)):
            os.link(temp, path)
    except FileExistsError:
        return False
    finally:
        temp.unlink(missing_ok=True)
    sync_folder(path.parent)
    return True
