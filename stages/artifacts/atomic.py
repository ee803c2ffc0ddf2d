"""Writes that are either wholly there or not there at all: temporary file, fsync, rename.

A killed process leaves nothing but hidden ``.*.tmp`` files, which no reader looks at and ``--gc`` removes.
"""

from __future__ import annotations

import contextlib
import errno
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

TEMP_SUFFIX = ".tmp"

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NO_ACCESS = {errno.EROFS, errno.EACCES, errno.EPERM}


class StoreError(OSError):
    """The store can't be written. The message names the path, the bytes needed and what to do."""


@contextlib.contextmanager
def store_errors(path: Path, needed: int | None = None) -> Iterator[None]:
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


def temp_path(path: Path) -> Path:
    """A hidden name beside ``path`` that no other process uses."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex}{TEMP_SUFFIX}")


def is_temp(path: Path) -> bool:
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


def write_temp(path: Path, data: bytes) -> Path:
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


def publish(temp: Path, path: Path) -> None:
    """Give the finished temporary file its final name."""
    with store_errors(path):
        temp.replace(path)
    sync_folder(path.parent)


def write_bytes(path: Path, data: bytes) -> None:
    """Replace ``path`` by ``data`` atomically and durably."""
    publish(write_temp(path, data), path)


def create(path: Path, data: bytes) -> bool:
    """Write ``data`` to ``path`` unless it exists already; whether this call created it.

    Of several processes that try, exactly one succeeds, and its file is complete when it appears.
    """
    temp = write_temp(path, data)
    try:
        with store_errors(path, len(data)):
            os.link(temp, path)
    except FileExistsError:
        return False
    finally:
        temp.unlink(missing_ok=True)
    sync_folder(path.parent)
    return True
