"""Reading an item as bytes: what it is, why it can't be read, and the digest of its content."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

from stages.catalog.ids import path_of, uri_from_path
from stages.catalog.tfrecord import read_record, record_bytes
from stages.decode.classify import check_source, media_error, unreadable
from stages.decode.image_files import list_images
from stages.decode.names import file_of, split_record
from stages.outcome import MediaError

_DIGEST_BYTES = 16
_MACHINES_FAULT = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)


@dataclass(frozen=True)
class Content:
    """What was read of an item: its size in bytes and the hex BLAKE2b-128 digest of all its content."""

    bytes: int
    digest: str


def read_file_item(root: str, uri: str) -> Content:
    """Read the video file ``uri`` once, wholly; of a record in a file, its data.

    Raises:
        MediaError: ``unreadable``, ``empty_file`` or, for a record, ``truncated``; ``not_media`` for what
            is no regular file.
        OSError: the machine has run out of something; not the file's fault.
    """
    path = path_of(root, uri)
    if check_source(path):
        raise _folder_as_file(root, uri)
    if split_record(path) is not None:
        data = read_record(path)
        return Content(len(data), hashlib.blake2b(data, digest_size=_DIGEST_BYTES).hexdigest())
    try:
        with Path(path).open("rb") as file:
            found = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=_DIGEST_BYTES))
            return Content(file.tell(), found.hexdigest())
    except OSError as error:
        raise _reject(path, error) from error


def read_folder_item(root: str, uri: str) -> Content:
    """Read the folder of images ``uri`` once, wholly: names and contents of its images, in frame order.

    Raises:
        MediaError: ``unreadable`` or ``empty_file``.
        OSError: the machine has run out of something; not the folder's fault.
    """
    path = path_of(root, uri)
    if not check_source(path):
        raise media_error(path, "unreadable", "is a file where a folder of images is expected")
    if (loop := _loop(root, uri)) is not None:
        raise loop
    total = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    size = 0
    try:
        for name in list_images(path):
            data = Path(path, name).read_bytes()
            total.update(f"{len(os.fsencode(name))} {len(data)} ".encode() + os.fsencode(name))
            total.update(data)
            size += len(data)
    except OSError as error:
        raise _reject(error.filename or path, error) from error
    return Content(size, total.hexdigest())


def refuse_changed(root: str, row: Mapping[str, Any]) -> None:
    """Refuse a catalog row whose file or folder is no longer what was catalogued.

    A file of the same size and time is taken for the same; any other is compared by its content. What can't
    be read at all is left to the decoder, which says why.

    Raises:
        MediaError: ``unreadable``: the row describes another version of the file.
    """
    path = path_of(root, row["uri"])
    try:
        found = Path(file_of(path)).stat()
        size = found.st_size if split_record(path) is None else record_bytes(path)
        if stat.S_ISDIR(found.st_mode):
            same = read_folder_item(root, row["uri"]).digest == row["digest"]
        elif size != row["bytes"]:
            same = False
        else:
            same = (
                found.st_mtime_ns == row["mtime"] or read_file_item(root, row["uri"]).digest == row["digest"]
            )
    except (OSError, MediaError):
        return
    if not same:
        what = "has changed since it was catalogued: run again to take the new version up"
        raise media_error(path, "unreadable", what)


def _reject(path: str, error: OSError) -> Exception:
    """The reject for ``error``, or ``error`` itself where the machine and not the item is to blame."""
    return error if error.errno in _MACHINES_FAULT else unreadable(os.fsdecode(path), error)


def _folder_as_file(root: str, uri: str) -> Exception:
    path = path_of(root, uri)
    try:
        empty = all(entry.name.startswith(".") for entry in Path(path).iterdir())
    except OSError as error:
        return _reject(path, error)
    if empty:
        return media_error(path, "not_media", "is an empty folder, not a video file")
    return _loop(root, uri) or media_error(
        path, "unreadable", "links lead to this folder more than once; it is listed under another name"
    )


def _loop(root: str, uri: str) -> MediaError | None:
    """The reject for a folder that is the same as one that holds it, if ``uri`` is such a folder."""
    if uri == ".":
        return None
    path = path_of(root, uri)
    real = os.path.realpath(path)
    steps = unquote_to_bytes(uri).split(b"/")
    for depth in range(len(steps)):
        holder = uri_from_path(b"/".join(steps[:depth])) or "."
        if os.path.realpath(path_of(root, holder)) == real:
            where = "the data root" if depth == 0 else holder
            return media_error(path, "unreadable", f"a link loop: it leads back to {where}; remove the link")
    if Path(real) in Path(root).resolve().parents:
        return media_error(
            path, "unreadable", "a link loop: it leads to a folder that holds the data root; remove the link"
        )
    return None
