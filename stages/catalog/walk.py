"""A walk through folders that follows links and still always ends."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from stages.catalog.errors import CatalogError
from stages.catalog.ids import uri_from_path
from stages.stage import Row

_Key = tuple[int, int]


@dataclass(frozen=True)
class Visit:
    """One folder that was looked into; names beginning with a dot are left out.

    Attributes:
        relative: its path from the root; empty for the root itself.
        files: whatever lies in it that is not a folder: files, dangling links, FIFOs.
        folders: number of folders in it.
        mtime: of the folder itself, in ns.
    """

    relative: bytes
    files: list[os.DirEntry[bytes]]
    folders: int
    mtime: int


@dataclass(frozen=True)
class Refused:
    """A folder that was not looked into: it can't be read, or links lead back to where the walk was."""

    relative: bytes


@dataclass(frozen=True)
class _Node:
    relative: bytes
    path: bytes
    parent: _Node | None
    keys: frozenset[_Key]
    linked: bool

    def holds(self, key: _Key) -> bool:
        node: _Node | None = self
        while node is not None:
            if key in node.keys:
                return True
            node = node.parent
        return False


def walk(root: str) -> Iterator[Visit | Refused]:
    """Every folder below ``root``, parents first and siblings by name.

    A link to a folder is followed, unless it leads to a folder that holds it (also one above the root). Links
    met inside a linked folder are followed only to where no other link has led, which bounds the walk even
    where many folders link to each other.

    Raises:
        CatalogError: ``root`` is missing, is no folder, or can't be read.
    """
    start = os.fsencode(root)
    check_root(root)
    above = frozenset(_key(parent.stat()) for parent in (Path(root).resolve(), *Path(root).resolve().parents))
    entered: set[_Key] = set()
    stack = [_Node(b"", start, None, above, False)]
    while stack:
        node = stack.pop()
        try:
            mtime = folder_mtime(node.path)
            files, folders = _look_into(node.path)
        except OSError:
            yield Refused(node.relative)
            continue
        yield Visit(node.relative, files, len(folders), mtime)
        prefix = node.relative + b"/" if node.relative else b""
        for entry in sorted(folders, key=lambda e: e.name, reverse=True):
            child = _enter(node, entry, prefix + entry.name, entered)
            if child is None:
                yield Refused(prefix + entry.name)
            else:
                stack.append(child)


def _look_into(path: bytes) -> tuple[list[os.DirEntry[bytes]], list[os.DirEntry[bytes]]]:
    files: list[os.DirEntry[bytes]] = []
    folders: list[os.DirEntry[bytes]] = []
    with os.scandir(path) as entries:
        for entry in entries:
            if not entry.name.startswith(b"."):
                (folders if _is_folder(entry) else files).append(entry)
    return files, folders


def _is_folder(entry: os.DirEntry[bytes]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself, a name that is too long: a file that will be rejected
        return False


def _enter(node: _Node, entry: os.DirEntry[bytes], relative: bytes, entered: set[_Key]) -> _Node | None:
    try:
        key = _key(entry.stat())
    except OSError:
        return None
    link = entry.is_symlink()
    if (link or node.linked) and node.holds(key):
        return None
    if link:
        if node.linked and key in entered:
            return None
        entered.add(key)
    return _Node(relative, entry.path, node, frozenset([key]), link or node.linked)


def folder_mtime(path: bytes) -> int:
    """Modification time of a folder itself, in ns."""
    return Path(os.fsdecode(path)).stat().st_mtime_ns


def _key(stat: os.stat_result) -> _Key:
    return stat.st_dev, stat.st_ino


def check_root(root: str) -> None:
    """Make sure that ``root`` is a folder that can be listed.

    Raises:
        CatalogError: it is not.
    """
    if not Path(root).is_dir():
        what = "is a file, not a folder" if Path(root).exists() else "does not exist"
        raise CatalogError(f"data.root={root} {what}; set data.root to the folder that holds the data set")
    try:
        with os.scandir(root):
            pass
    except OSError as error:
        raise CatalogError(f"data.root={root} can't be listed: {error.strerror}") from error


def file_row(relative: bytes, entry: os.DirEntry[bytes]) -> Row:
    """The row of one file: uri, size in bytes, mtime in ns; ``-1`` and 0 where it can't be looked at."""
    try:
        stat = entry.stat()
    except OSError:
        return unseen_row(relative)
    return {"uri": uri_from_path(relative), "bytes": stat.st_size, "mtime": stat.st_mtime_ns}


def unseen_row(relative: bytes) -> Row:
    """The row of something that can't be looked at, and so will be rejected."""
    return {"uri": uri_from_path(relative), "bytes": -1, "mtime": 0}
