"""From what went wrong to a named class of error and a sentence that is the same on every machine."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from stages.decode.names import file_of, shown_name
from stages.outcome import ErrorClass, MediaError

_KINDS = (
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def media_error(path: str, error_class: ErrorClass, what: str) -> MediaError:
    """A `MediaError` whose message begins with the file's name."""
    return MediaError(error_class, f"{shown_name(path)}: {what}")


def unreadable(path: str, error: OSError) -> MediaError:
    """The reject for a file that the operating system refuses to hand out."""
    if error.errno == errno.ENOENT and Path(path).is_symlink():
        what = "a dangling link: restore its target or remove it"
    elif error.errno == errno.ELOOP:
        what = "a link that leads back to itself: remove it"
    elif error.errno in (errno.EACCES, errno.EPERM):
        what = "no permission to read it: change its mode or owner"
    elif error.errno == errno.ENOENT:
        what = "it has vanished since it was listed"
    else:
        what = f"can't be read: {os.strerror(error.errno or errno.EIO)}"
    return media_error(path, "unreadable", what)


def cut_off(path: str) -> bool:
    """Whether the file is an MP4 or QuickTime file whose last box reaches beyond its end."""
    size = Path(path).stat().st_size
    with Path(path).open("rb") as file:
        if file.read(8)[4:] not in (b"ftyp", b"moov", b"mdat", b"wide", b"free"):
            return False
        at = 0
        while 0 <= at <= size - 8:
            file.seek(at)
            head = file.read(16)
            length = int.from_bytes(head[:4], "big")
            if length == 1:
                length = int.from_bytes(head[8:16], "big")
            if length == 0:
                return False
            if length < 8:
                return True
            at += length
    return at != size


def check_source(path: str) -> bool:
    """Look at ``path`` without reading it; True for a folder, False for a file that can be read.

    For a record of a file that is the file.

    Raises:
        MediaError: ``unreadable``, ``empty_file`` or ``not_media``; a FIFO is never opened.
    """
    path = file_of(path)
    try:
        found = Path(path).stat()
        if stat.S_ISDIR(found.st_mode):
            return True
        for is_kind, kind in _KINDS:
            if is_kind(found.st_mode):
                raise media_error(path, "not_media", f"is {kind} and not a file")
        if found.st_size == 0:
            raise media_error(path, "empty_file", "has no bytes: copy or download it again")
        with Path(path).open("rb") as file:
            file.read(1)
    except OSError as error:
        raise unreadable(path, error) from error
    return False
