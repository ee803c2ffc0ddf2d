"""Reading pieces of shards straight into arrays: `preadv` from local files, range requests elsewhere."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

from stages.artifacts.place import Place, Url, place

LOCAL_GAP = 4096
"""Unwanted bytes worth reading through in a local file: a page, which the system would read anyway."""
REMOTE_GAP = 4 * 2**20
"""Unwanted bytes worth reading through elsewhere, where a request costs more than their transfer."""

Piece = tuple[int, memoryview]
"""Where wanted bytes begin in a file, and the writable bytes they go to."""

Run = tuple[int, int, list[memoryview]]
"""A range of a file, start and stop, and the buffers that its bytes go to, which leave no byte out."""

_MAX_BUFFERS = 1024  # per preadv, on the systems that have it
_junk = [memoryview(bytearray(LOCAL_GAP))]  # what is read through lands here; nobody reads it


class ShortReadError(OSError):
    """A file ends, or a server stops, before the wanted bytes."""


def runs(pieces: Sequence[Piece], gap: int) -> list[Run]:
    """Cover ``pieces`` by ranges, one for all neighbours with at most ``gap`` unwanted bytes between them.

    Raises:
        ValueError: if the pieces overlap or do not rise.
    """
    found: list[Run] = []
    buffers: list[memoryview] = []
    first = end = -1
    junk = _junk[0]
    for start, target in pieces:
        skip = start - end
        if skip < 0:
            raise ValueError(f"the piece at {start} begins before the one before it ends, at {end}")
        if skip > gap or not buffers:
            if buffers:
                found.append((first, end, buffers))
            first, buffers = start, [target]
        else:
            if skip:
                if len(junk) != skip:  # mostly the same as the last time: a padding and two headers
                    junk = _junk_of(skip)
                buffers.append(junk)
            buffers.append(target)
        end = start + len(target)
    if buffers:
        found.append((first, end, buffers))
    return found


def _junk_of(size: int) -> memoryview:
    """``size`` bytes to throw away; grown when needed, shared by all."""
    junk = _junk[0]
    if len(junk) < size:
        junk = _junk[0] = memoryview(bytearray(size))
    return junk[:size]


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
        for start, stop, buffers in runs(pieces, self._gap):
            _fill(handle.fd, buffers, start, stop)
            total += stop - start
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


def _fill(fd: int, buffers: list[memoryview], start: int, stop: int) -> None:
    """Read a run, in as many calls as the system wants."""
    while start < stop:
        got = _preadv(fd, buffers if len(buffers) <= _MAX_BUFFERS else buffers[:_MAX_BUFFERS], start)
        if got == 0:
            raise ShortReadError(f"the file ends {stop - start} bytes before the end of the wanted data")
        start += got
        if start < stop:
            buffers = _rest(buffers, got)


def _rest(buffers: list[memoryview], filled: int) -> list[memoryview]:
    """What is left of ``buffers`` after the first ``filled`` bytes."""
    for i, buffer in enumerate(buffers):
        if filled < len(buffer):
            return [buffer[filled:], *buffers[i + 1 :]]
        filled -= len(buffer)
    return []


def _pread_first(fd: int, buffers: list[memoryview], offset: int) -> int:
    """As much of `os.preadv` as systems without it need: fills one buffer per call."""
    data = os.pread(fd, len(buffers[0]), offset)
    buffers[0][: len(data)] = data
    return len(data)


_preadv = getattr(os, "preadv", _pread_first)


class RemoteFiles:
    """Reads from files below a URL; ranges of one call are requested together."""

    def __init__(self, url: Url, gap: int | None = None) -> None:
        self._url = url
        self._gap = REMOTE_GAP if gap is None else gap

    def read(self, name: str, pieces: Sequence[Piece]) -> int:
        """See `LocalFiles.read`."""
        wanted = runs(pieces, self._gap)
        found = (self._url / name).read_ranges([(start, stop) for start, stop, _ in wanted])
        for (start, stop, buffers), data in zip(wanted, found, strict=True):
            if len(data) != stop - start:
                raise ShortReadError(
                    f"{len(data)} bytes came for the {stop - start} asked for at {start}: the file is "
                    "shorter, or its server does not answer range requests"
                )
            _deal(memoryview(data), buffers)
        return sum(map(len, found))

    def close(self) -> None:
        """Nothing stays open."""


def _deal(data: memoryview, buffers: list[memoryview]) -> None:
    """Copy ``data`` to the buffers, one after the other."""
    at = 0
    for buffer in buffers:
        buffer[:] = data[at : at + len(buffer)]
        at += len(buffer)


Files = LocalFiles | RemoteFiles


def files_below(root: str | Place, gap: int | None = None, max_open: int = 64) -> Files:
    """Reads from the files below a folder or a URL; see `LocalFiles` and `RemoteFiles`."""
    where = place(root)
    return LocalFiles(str(where), gap, max_open) if isinstance(where, Path) else RemoteFiles(where, gap)
