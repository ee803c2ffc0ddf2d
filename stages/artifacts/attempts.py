"""Failed decoder children per video of a shard in progress, on disk so that a restart goes on counting."""

from __future__ import annotations

import contextlib
import json

from stages.artifacts import atomic
from stages.artifacts.place import Place


class FileAttempts:
    """Implements `stages.stage.Attempts` on a small JSON file, removed when the shard is committed."""

    def __init__(self, path: Place) -> None:
        self._path = path
        self._counts: dict[str, int] = {}
        with contextlib.suppress(FileNotFoundError):
            self._counts = json.loads(path.read_text())

    def count(self, video: str) -> int:
        """How many children failed on ``video`` so far."""
        return self._counts.get(video, 0)

    def record(self, video: str) -> int:
        """Count one more failed child, durably, and return the new count."""
        self._counts[video] = self.count(video) + 1
        atomic.write_bytes(self._path, json.dumps(self._counts, sort_keys=True).encode())
        return self._counts[video]

    def forget(self) -> None:
        """Remove the file: the shard is committed and its rejects carry the counts."""
        if self._counts:
            self._path.unlink(missing_ok=True)
