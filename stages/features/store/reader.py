"""Reading features: clips of any frames, by reading those frames' bytes and little else."""

from __future__ import annotations

import os
import shutil
import weakref
from collections.abc import Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stages.artifacts.place import Place, place
from stages.features.store import locate, members
from stages.features.store.gauge import Gauge
from stages.features.store.index import Entry, Index
from stages.features.store.ranges import Files, ShortReadError, files_below
from stages.features.store.schema import BASE_VIEW, SCALE_SUFFIX
from stages.features.store.videos import Videos

if TYPE_CHECKING:
    import torch

Frames = Sequence[int] | np.ndarray | slice | None
"""Positions among a video's stored frames, from 0, in any order, repeats allowed; a slice; None for all."""


_REMEMBERED = 1 << 14  # series found in the index, about 1 KB each


class CorruptShardError(Exception):
    """A shard does not hold what its manifest says: it was truncated or altered after its commit."""


class FeatureStore:
    """The features of one artifact, as it is now: shards committed later need a new `FeatureStore`.

    Safe in `DataLoader` workers, forked or spawned, and in threads. Nothing here imports torch until a
    method returns a tensor.

    Args:
        path: the artifact's folder, or an ``fsspec`` URL of it.
        verify: check the CRC-32C of every member that is read.
        cache: folder for the index where the artifact can't hold it; default: a temporary one.
        max_open: shard files kept open at a time (local artifacts).
        gap: unwanted bytes between wanted ones that are read through rather than skipped. Default: 4 KiB in
            local files (which is also their most), 4 MiB elsewhere.

    Attributes:
        gauge: bytes read over bytes needed so far, in this process.

    Raises:
        FileNotFoundError: if there is no artifact.
        ValueError: if it has another format version, or a manifest is damaged.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | Place,
        verify: bool = False,
        cache: str | os.PathLike[str] | None = None,
        max_open: int = 64,
        gap: int | None = None,
    ) -> None:
        self.path = str(place(path).absolute())
        self.verify = verify
        self._cache = None if cache is None else Path(cache)
        self._max_open = max_open
        self._gap = gap
        self._start(self._find_index())

    def _find_index(self) -> Index:
        where = place(self.path)
        if isinstance(where, Path):
            index, temporary = locate.open_local(where, self._cache)
        else:
            index, temporary = locate.open_remote(where, self._cache)
        if temporary:
            weakref.finalize(self, _remove, temporary, os.getpid())
        return index

    def _start(self, index: Index) -> None:
        self._index = index
        self._series = lru_cache(_REMEMBERED)(partial(members.series_of, index, self.path))
        self.gauge = Gauge()
        self._files: Files
        self._files = files_below(self.path, self._gap, self._max_open)

    @property
    def videos(self) -> Videos:
        """The ids of all videos that have features, sorted."""
        return Videos(self._index)

    def __len__(self) -> int:
        return len(self._index)

    def __contains__(self, video: object) -> bool:
        return video in self.videos

    @property
    def facets(self) -> tuple[str, ...]:
        """The facets that are stored, over all videos and views, sorted."""
        found = {stream.facet for stream in self._index.streams}
        return tuple(sorted(facet for facet in found if not facet.endswith(SCALE_SUFFIX)))

    @property
    def views(self) -> tuple[str, ...]:
        """The views that are stored, over all videos, sorted."""
        return tuple(sorted({stream.view for stream in self._index.streams}))

    def counts(self, view: str = BASE_VIEW) -> np.ndarray:
        """How many frames each video has, int64 (V,), in the order of `videos`.

        Args:
            view: only ``bank``, the bank of clips, has frames of its own.
        """
        return self._index.counts(view)

    def count(self, video: str, view: str = BASE_VIEW) -> int:
        """How many frames ``video`` has in ``view``; 0 in a bank that it does not have.

        Raises:
            KeyError: if the store has no such video.
        """
        return self._entry(video).count(view)

    def frames(self, video: str, view: str = BASE_VIEW) -> tuple[np.ndarray, np.ndarray]:
        """The stored frames: indices in the video's source, int64 (n,), and times in seconds, float64 (n,).

        In the view ``bank`` the indices count the frames of all clips instead, and the times are those of the
        frames shown.

        Raises:
            KeyError: if the store has no such video.
        """
        return self._entry(video).frames(view)

    def shape(self, video: str, facet: str = "tokens", view: str = BASE_VIEW) -> tuple[int, ...]:
        """The shape of the whole video's clip: (T, N, D), or (T, D) for a class token.

        Raises:
            KeyError: if the store has no such video, or the video no such facet or view.
        """
        series = self._series(video, view, facet)
        return series.length, *series.shape

    def clip(
        self, video: str, frames: Frames = None, facet: str = "tokens", view: str = BASE_VIEW
    ) -> torch.Tensor:
        """Features of some frames of a video.

        Args:
            video: id of the video.
            frames: which of its stored frames (`Frames`).
            facet: ``tokens``, ``keys``, ``queries``, ``cls``, …
            view: ``base``, or the name of an augmented view.

        Returns:
            float16 (T, N, D), or (T, D) for a class token, in the order of ``frames``; whole numbers (pixels,
            positions of patches) as they were stored.

        Raises:
            KeyError: if the store has no such video, or the video no such facet or view.
            IndexError: if a position is negative or not below the number of stored frames.
            CorruptShardError: if the shard is truncated or, with ``verify``, altered.
            FileNotFoundError: if the shard was removed.
        """
        import torch

        return torch.from_numpy(self.array(video, frames, facet, view))

    def array(
        self, video: str, frames: Frames = None, facet: str = "tokens", view: str = BASE_VIEW
    ) -> np.ndarray:
        """`clip` as a NumPy array, without torch."""
        series = self._series(video, view, facet)
        positions, rising = members.positions_of(frames, series.length, video)
        if rising:
            return self._read(video, series, positions)
        unique, inverse = np.unique(np.asarray(positions), return_inverse=True)
        return self._read(video, series, unique.tolist())[inverse]

    def close(self) -> None:
        """Close the shard files; a later read opens them again."""
        self._files.close()

    def _entry(self, video: str) -> Entry:
        return members.entry_of(self._index, self.path, video)

    def _read(self, video: str, series: members.Series, positions: Sequence[int]) -> np.ndarray:
        try:
            return members.read(self._files, series, positions, self.gauge, self.verify)
        except (ShortReadError, members.ChecksumError) as error:
            raise CorruptShardError(
                f"shard {self.path}/{series.shard} is damaged, video {video}: {error}; "
                "run the recipe with --verify --repair"
            ) from error
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f"shard {self.path}/{series.shard} of video {video} is not there: it was removed, or dropped "
                "after use; run the recipe again to have it made"
            ) from error

    def __getstate__(self) -> dict[str, Any]:
        """What another process needs; no open files, and a gauge of its own."""
        kept = ("path", "verify", "_cache", "_max_open", "_gap")
        return {name: getattr(self, name) for name in kept} | {"index": self._index.path}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Open the very index the other process has, so that both see the same videos."""
        index = state.pop("index")
        self.__dict__.update(state)
        self._start(locate.reopen(index) or self._find_index())


def _remove(folder: Path, owner: int) -> None:
    """Remove a temporary index, but not from a forked child."""
    if os.getpid() == owner:
        shutil.rmtree(folder, ignore_errors=True)
