"""Which bytes of a shard the wanted frames are, and whether they are the right ones."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, pairwise
from operator import itemgetter

import numpy as np
from crc32c import crc32c

from stages.features.store.encoding import decode_int8
from stages.features.store.gauge import Gauge
from stages.features.store.index import Entry
from stages.features.store.ranges import Files, Piece
from stages.features.store.schema import BASE_VIEW, SCALE_SUFFIX


class ChecksumError(Exception):
    """A member's bytes are not those that were written."""


def number_of(entry: Entry, video: str, view: str, facet: str) -> int:
    """The number of the stream of ``entry`` that holds ``facet`` of ``view``.

    Raises:
        KeyError: if there is none; it lists what there is.
    """
    number = entry.find(view, facet)
    if number is None:
        stored = ", ".join(f"{s.view}/{s.facet}" for s in entry.streams if not s.facet.endswith(SCALE_SUFFIX))
        raise KeyError(f"video {video} has no facet {facet!r} of view {view!r}; stored: {stored}")
    return number


def positions_of(frames: object, length: int, video: str) -> tuple[Sequence[int], bool]:
    """``frames`` (positions, a slice, or None for all) as positions, and whether they rise.

    Raises:
        IndexError: if one is negative or not below ``length``, the number of the video's frames.
    """
    positions: Sequence[int]
    if frames is None or isinstance(frames, slice):
        positions = range(length)[frames or slice(None)]
    elif isinstance(frames, range):
        positions = frames
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


def read(
    files: Files, entry: Entry, number: int, positions: Sequence[int], gauge: Gauge, verify: bool
) -> np.ndarray:
    """The frames at the rising ``positions`` of stream ``number``, as fp16 (T, ...).

    Raises:
        ChecksumError: with ``verify``, if a member is not what was written.
        ShortReadError: if the shard ends too early.
        OSError: if it can't be read.
    """
    stream = entry.streams[number]
    array = np.empty((len(positions), *stream.shape), stream.dtype)
    scale_number = entry.find(stream.view, stream.facet + SCALE_SUFFIX) if stream.dtype.kind == "i" else None
    if not positions:
        return array.astype(np.float16, copy=False)
    pieces = _pieces(entry, number, array, positions, verify)
    if scale_number is None:
        gauge.count(array.nbytes, files.read(entry.shard, pieces))
    else:
        scale = np.empty((len(positions), *entry.streams[scale_number].shape), np.float32)
        factors = _pieces(entry, scale_number, scale, positions, verify)
        fetched = files.read(entry.shard, sorted([*pieces, *factors], key=itemgetter(0)))
        gauge.count(array.nbytes + scale.nbytes, fetched)
        if verify:
            _check(entry, scale_number, positions, factors)
    if verify:
        _check(entry, number, positions, pieces)
    return array if scale_number is None else decode_int8(array, scale)


def _pieces(
    entry: Entry, number: int, array: np.ndarray, positions: Sequence[int], whole: bool
) -> list[Piece]:
    """Where the arrays of the members lie and where they go; with ``whole`` their .npy headers too."""
    offsets = entry.offsets(number)
    step = array.nbytes // len(positions)
    head = entry.streams[number].size - step
    target = array.data.cast("B")
    places = range(0, array.nbytes, step)
    data = [(offsets[p] + head, target[at : at + step]) for p, at in zip(positions, places, strict=True)]
    if not whole:
        return data
    return list(chain(*((((at - head, memoryview(bytearray(head)))), (at, to)) for at, to in data)))


def _check(entry: Entry, number: int, positions: Sequence[int], pieces: list[Piece]) -> None:
    """Compare the checksums of members that were read with their .npy headers."""
    expected = entry.checksums(number)
    for i, position in enumerate(positions):
        (_, head), (_, data) = pieces[2 * i : 2 * i + 2]
        if crc32c(data, crc32c(head)) != expected[position]:
            stream = entry.streams[number]
            view = "" if stream.view == BASE_VIEW else f" of view {stream.view}"
            raise ChecksumError(f"{stream.facet}{view} at position {position} fails its checksum")
