"""Which bytes of a shard the wanted frames are, and whether they are the right ones."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import chain, pairwise
from operator import itemgetter
from typing import NamedTuple

import numpy as np
from crc32c import crc32c

from stages.features.store.encoding import decode_int8
from stages.features.store.gauge import Gauge
from stages.features.store.index import Entry, Index
from stages.features.store.ranges import Files, Piece
from stages.features.store.schema import BASE_VIEW, SCALE_SUFFIX
from stages.features.store.videos import unknown


class ChecksumError(Exception):
    """A member's bytes are not those that were written."""


class Series(NamedTuple):
    """All frames of one facet in one view of one video.

    Attributes:
        shard: the shard's path in the artifact.
        length: how many frames there are.
        offsets: where their members begin in the shard, bytes.
        checksums: their CRC-32C.
        head: bytes of each member before its array.
        step: bytes of each array.
        shape: of each array.
        dtype: of each array.
        scale: the factors of an int8 series.
    """

    name: str
    shard: str
    length: int
    offsets: memoryview
    checksums: memoryview
    head: int
    step: int
    shape: tuple[int, ...]
    dtype: np.dtype
    scale: Series | None


def entry_of(index: Index, path: str, video: str) -> Entry:
    """What the index knows about ``video``.

    Raises:
        KeyError: if it has no such video; it names the nearest ones and the store's ``path``.
    """
    i = index.find(video)
    if i is None:
        raise KeyError(unknown(index, video, path))
    return index.entry(i)


def series_of(index: Index, path: str, video: str, view: str, facet: str) -> Series:
    """Find a series.

    Raises:
        KeyError: if there is no such video, or it has no such facet or view; it lists what there is.
    """
    entry = entry_of(index, path, video)
    series = None if facet.endswith(SCALE_SUFFIX) else _series(entry, view, facet)
    if series is None:
        stored = ", ".join(f"{s.view}/{s.facet}" for s in entry.streams if not s.facet.endswith(SCALE_SUFFIX))
        raise KeyError(f"video {video} has no facet {facet!r} of view {view!r}; stored: {stored}")
    return series


def _series(entry: Entry, view: str, facet: str) -> Series | None:
    names = [(s.view, s.facet) for s in entry.streams]
    if (view, facet) not in names:
        return None
    number = names.index((view, facet))
    stream = entry.streams[number]
    dtype = np.dtype(stream.dtype)
    step = dtype.itemsize * int(np.prod(stream.shape))
    offsets, checksums = entry.members(number)
    return Series(
        facet if view == BASE_VIEW else f"{view}/{facet}",
        entry.shard,
        len(offsets),
        offsets,
        checksums,
        stream.size - step,
        step,
        stream.shape,
        dtype,
        _series(entry, view, facet + SCALE_SUFFIX) if dtype == np.int8 else None,
    )


def positions_of(frames: object, length: int, video: str) -> tuple[Sequence[int], bool]:
    """``frames`` (positions, a slice, or None for all) as positions, and whether they rise.

    Raises:
        IndexError: if one is negative or not below ``length``, the number of the video's frames.
    """
    positions: Sequence[int]
    if isinstance(frames, range):
        positions = frames
    elif frames is None or isinstance(frames, slice):
        positions = range(length)[frames or slice(None)]
    else:
        positions = frames.tolist() if hasattr(frames, "tolist") else list(frames)  # type: ignore[call-overload]
    if positions:
        ends = (positions[0], positions[-1]) if isinstance(positions, range) else positions
        if min(ends) < 0 or max(ends) >= length:
            wrong = next(p for p in positions if not 0 <= p < length)
            raise IndexError(
                f"video {video} has {length} frames (0 to {length - 1}), there is no frame {wrong}"
            )
    if isinstance(positions, range):
        return positions, positions.step > 0
    return positions, all(a < b for a, b in pairwise(positions))


def read(files: Files, series: Series, positions: Sequence[int], gauge: Gauge, verify: bool) -> np.ndarray:
    """The frames at the rising ``positions`` of ``series``, (T, ...): fp16, or whole numbers stored exactly.

    Raises:
        ChecksumError: with ``verify``, if a member is not what was written.
        ShortReadError: if the shard ends too early.
        OSError: if it can't be read.
    """
    array = np.empty((len(positions), *series.shape), series.dtype)
    if series.scale is None:
        pieces = _pieces(series, array, positions, verify)
        gauge.count(array.nbytes, files.read(series.shard, pieces))
        if verify:
            _check(series, positions, pieces)
        return array
    scale = np.empty((len(positions), *series.scale.shape), series.scale.dtype)
    pieces, factors = (
        list(_pieces(s, a, positions, verify)) for s, a in ((series, array), (series.scale, scale))
    )
    fetched = files.read(series.shard, sorted([*pieces, *factors], key=itemgetter(0)))
    gauge.count(array.nbytes + scale.nbytes, fetched)
    if verify:
        _check(series, positions, pieces)
        _check(series.scale, positions, factors)
    return decode_int8(array, scale)


def _pieces(series: Series, array: np.ndarray, positions: Sequence[int], whole: bool) -> list[Piece]:
    """Where the arrays of the members lie and where they go; with ``whole`` their .npy headers too."""
    if not positions:
        return []
    head, offsets = series.head, series.offsets
    starts = [offsets[p] + head for p in positions]
    targets = map(array.data.cast("B").__getitem__, _slices(series.step, len(positions)))
    data = list(zip(starts, targets, strict=True))
    if not whole:
        return data
    return list(chain(*(((at - head, memoryview(bytearray(head))), (at, to)) for at, to in data)))


@lru_cache(maxsize=256)
def _slices(step: int, count: int) -> tuple[slice, ...]:
    """``count`` slices of ``step`` bytes, one after the other."""
    return tuple(slice(i * step, (i + 1) * step) for i in range(count))


def _check(series: Series, positions: Iterable[int], pieces: list[Piece]) -> None:
    """Compare the checksums of members that were read with their .npy headers."""
    for i, position in enumerate(positions):
        (_, head), (_, data) = pieces[2 * i : 2 * i + 2]
        if crc32c(data, crc32c(head)) != series.checksums[position]:
            raise ChecksumError(f"{series.name} at position {position} fails its checksum")
