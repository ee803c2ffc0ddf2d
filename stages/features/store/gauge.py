"""How much more is read than is needed."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Gauge:
    """Counts of one reader in one process; add gauges up to count over several.

    Attributes:
        needed: bytes of the arrays asked for, as they are stored (with the factors of int8).
        read: bytes fetched for them: .npy and tar headers, padding and gaps that were read through included.
        clips: calls that read something.
    """

    needed: int = 0
    read: int = 0
    clips: int = 0

    @property
    def ratio(self) -> float:
        """Bytes read over bytes needed; 1.0 before anything was read."""
        return self.read / self.needed if self.needed else 1.0

    def count(self, needed: int, read: int) -> None:
        """Count one call."""
        self.needed += needed
        self.read += read
        self.clips += 1

    def reset(self) -> None:
        """Start again at zero."""
        self.needed = self.read = self.clips = 0

    def __add__(self, other: Gauge) -> Gauge:
        return Gauge(self.needed + other.needed, self.read + other.read, self.clips + other.clips)
