"""Reading pieces of shards straight into arrays: `preadv` from local files, range requests elsewhere."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

LOCAL_GAP = 4096
"""Unwanted bytes worth reading through in a local file: a page, which the system would read anyway."""
REMOTE_GAP = 4 * 2**20
"""Unwanted bytes worth reading through elsewhere, where a request costs more than their transfer."""

Piece = tuple[int, memoryview]
"""Where wanted bytes begin in a file, and the writable bytes they go to."""

_MAX_BUFFERS = 512  # per preadv; systems allow 1024
_JUNK = memoryview(bytearray(LOCAL_GAP))  # what is read through lands here; nobody reads it


class ShortReadError(OSError):
    """A file ends, or a server stops, before the wanted bytes."""


def groups(pieces: Sequence[Piece], gap: int) -> list[tuple[int, int]]:
    """Cut ``pieces`` into runs that one range each covers.

    Args:
        pieces: rising and not overlapping.
        gap: two neighbours with at most this many bytes between them share a range.

    Returns:
        (i, j) for the ranges from the start of ``pieces[i]`` to the end of ``pieces[j - 1]``.

    Raises:
        ValueError: if the pieces overlap or do not rise.
    """
    found, first, end = [], 0, -1
    for i, (start, target) in enumerate(pieces):
        if start - end > gap and i:
            found.append((first, i))
            first = i
        elif start < end:
            raise ValueError(f"piece {i} at {start} begins before the end of the one before it, {end}")
        end = start + len(target)
    if pieces:
        found.append((first, len(pieces)))
    return found


class _Handle:
    """A descriptor that closes when nobody uses it any more, so that another thread's read can't lose it."""

    def __init__(self, path: str) -> None:
        self.fd = -1
        self.fd = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))

    def __del__(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)


class LocalFiles:
    """Reads from files below ``root``, of which at most ``max_open`` stay open."""

    def __init__(self, root: str, gap: int | None = None, max_open: int = 64) -> None:
        self._root = root
        self._gap = LOCAL_GAP if gap is None else min(gap, LOCAL_GAP)
        self._max_open = max_open
        self._start()

    def _start(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._handles: OrderedDict[str, _Handle] = OrderedDict()

    def read(self, name: str, pieces: Sequence[Piece]) -> int:
        """Fill the targets of ``pieces`` (rising, not overlapping) from the file ``name``.

        Returns:
            How many bytes were read, gaps included.

        Raises:
            ShortReadError: if the file ends before.
            OSError: if it can't be opened or read.
        """
        handle = self._open(name)
        total = 0
        for i, j in groups(pieces, self._gap):
            total += _scatter(handle.fd, pieces, i, j)
        return total

    def _open(self, name: str) -> _Handle:
        if self._pid != os.getpid():
            self._start()  # forked: the lock may have been held by a thread that is not here
        with self._lock:
            handle = self._handles.get(name)
            if handle is None:
                handle = self._handles[name] = _Handle(f"{self._root}/{name}")
                if len(self._handles) > self._max_open:
                    self._handles.popitem(last=False)
            else:
                self._handles.move_to_end(name)
            return handle

    def close(self) -> None:
        """Close the files."""
        with self._lock:
            self._handles.clear()


def _scatter(fd: int, pieces: Sequence[Piece], i: int, j: int) -> int:
    """Read the range of ``pieces[i:j]``; what lies in the gaps is thrown away."""
    start = end = pieces[i][0]
    buffers: list[memoryview] = []
    for offset, target in pieces[i:j]:
        if len(buffers) >= _MAX_BUFFERS:
            _fill(fd, buffers, start)
            buffers, start = [], end
        if offset > end:
            buffers.append(_JUNK[: offset - end])
        buffers.append(target)
        end = offset + len(target)
    _fill(fd, buffers, start)
    return end - pieces[i][0]


def _fill(fd: int, buffers: list[memoryview], offset: int) -> None:
    """Fill ``buffers`` from ``offset`` on, in as many calls as the system wants."""
    wanted = sum(map(len, buffers))
    while wanted:
        got = _preadv(fd, buffers, offset)
        if got == wanted:
            return
        if got == 0:
            raise ShortReadError(f"the file ends {wanted} bytes before the end of the wanted data")
        wanted, offset = wanted - got, offset + got
        while got >= len(buffers[0]):
            got -= len(buffers.pop(0))
        buffers[0] = buffers[0][got:]


def _preadv(fd: int, buffers: list[memoryview], offset: int) -> int:
    if hasattr(os, "preadv"):
        return os.preadv(fd, buffers, offset)
    data = os.pread(fd, len(buffers[0]), offset)  # systems without preadv: a buffer per call
    buffers[0][: len(data)] = data
    return len(data)


class RemoteFiles:
    """Reads from files below an ``fsspec`` URL; ranges of one call are requested together."""

    def __init__(self, url: str, gap: int | None = None) -> None:
        self._url = url
        self._gap = REMOTE_GAP if gap is None else gap
        self._pid = -1
        self._fs: Any = None
        self._root = ""

    def read(self, name: str, pieces: Sequence[Piece]) -> int:
        """See `LocalFiles.read`."""
        self._connect()
        runs = groups(pieces, self._gap)
        starts = [pieces[i][0] for i, _ in runs]
        stops = [pieces[j - 1][0] + len(pieces[j - 1][1]) for _, j in runs]
        path = f"{self._root}/{name}"
        found = self._fs.cat_ranges([path] * len(runs), starts, stops, on_error="return")
        for (i, j), start, stop, data in zip(runs, starts, stops, found, strict=True):
            if isinstance(data, FileNotFoundError):
                raise data
            if isinstance(data, BaseException):
                raise OSError(f"bytes {start}-{stop} of {path} can't be read: {data}") from data
            if len(data) != stop - start:
                raise ShortReadError(
                    f"{len(data)} bytes came for the {stop - start} asked for at {start}: the file is "
                    "shorter, or its server does not answer range requests"
                )
            view = memoryview(data)
            for offset, target in pieces[i:j]:
                target[:] = view[offset - start : offset - start + len(target)]
        return sum(map(len, found))

    def _connect(self) -> None:
        """A file system of this process: fsspec's do not survive a fork."""
        if self._pid != os.getpid():
            import fsspec

            self._fs, root = fsspec.core.url_to_fs(self._url)
            self._root = root.rstrip("/")
            self._pid = os.getpid()

    def close(self) -> None:
        """Forget the file system."""
        self._pid, self._fs = -1, None


Files = LocalFiles | RemoteFiles
