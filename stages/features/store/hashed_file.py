"""A file written front to back whose SHA-256 is known at its end, and that can go back to a mark."""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path

from stages.artifacts.atomic import store_errors

_BUFFER = 1 << 20


class HashedFile:
    """Sequential buffered writes to ``path``, which is created or emptied."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with store_errors(path):
            self._file = path.open("wb", buffering=_BUFFER)
        self._sha = hashlib.sha256()
        self.size = 0
        self.mark()

    def write(self, data: bytes | memoryview) -> None:
        """Append ``data``.

        Raises:
            StoreError: if there is no room or no right to write.
        """
        with store_errors(self.path, self.size + len(data)):
            self._file.write(data)
        self._sha.update(data)
        self.size += len(data)

    def mark(self) -> None:
        """Remember this point; only the latest mark counts."""
        self._marked = (self.size, self._sha.copy())

    def rollback(self) -> None:
        """Forget all that was written since the mark."""
        if self.size == self._marked[0]:
            return
        self.size, sha = self._marked
        self._sha = sha.copy()
        with store_errors(self.path):
            self._file.seek(self.size)
            self._file.truncate()

    def finish(self) -> str:
        """Flush to the disk, close, and return the hex digest of everything written."""
        with store_errors(self.path, self.size):
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
        return self._sha.hexdigest()

    def remove(self) -> None:
        """Close and remove the file."""
        with contextlib.suppress(OSError):  # a full disk: the buffer can't be flushed, and need not be
            self._file.close()
        self.path.unlink(missing_ok=True)
