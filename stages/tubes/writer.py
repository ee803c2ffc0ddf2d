"""Writing one shard of tubes: every video is a row group of its own, written when it is kept.

`stages.artifacts.table_writer` holds a whole shard in memory; masks of long videos are too many for that.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from stages.features.store.hashed_file import HashedFile
from stages.stage import WrittenShard
from stages.tubes.table import OF_TUBE, TUBES_MANIFEST, TUBES_SCHEMA


@dataclass(frozen=True)
class TubeFrame:
    """The pixels of one tube in one frame; there is at least one.

    Attributes:
        tube: number of the tube, from 0.
        position: of the frame among the video's stored ones.
        rle: compressed counts of COCO for the whole upright frame.
        box: x, y, width, height in pixels.
        area: pixels.
        score: in [0, 1], see `stages.tubes.labels`.
    """

    tube: int
    position: int
    rle: str
    box: tuple[int, int, int, int]
    area: int
    score: float


@dataclass(frozen=True)
class TubeName:
    """What a tube is called; see `stages.labeling.naming.Named`.

    Attributes:
        label: a target, or ``unnamed``.
        score: its probability; None for ``unnamed``.
        top: the best targets and their probabilities, falling.
        background: the name of background that fits better than any target; None otherwise.
        members: numbers of the tubes that it was made of, rising.
        classes: probabilities of the rest and of every target, (1 + n,); None without features.
    """

    label: str
    score: float | None
    top: tuple[tuple[str, float], ...] = ()
    background: str | None = None
    members: tuple[int, ...] = ()
    classes: np.ndarray | None = None


@dataclass(frozen=True)
class _Looked:
    """What was looked at in the current video: the same for all kinds of masks."""

    size: tuple[int, int]
    frames: list[int]
    pts: list[float]


class _Sink:
    """`HashedFile` as pyarrow wants a file to write to."""

    closed = False

    def __init__(self, file: HashedFile) -> None:
        self._file = file
        self.dropped = False

    def write(self, data: bytes) -> int:
        if not self.dropped:
            self._file.write(data)
        return len(data)

    def tell(self) -> int:
        return self._file.size

    def flush(self) -> None:
        """The file is flushed when it is finished."""

    def close(self) -> None:
        """The file is closed when it is finished."""


class TubesWriter:
    """Implements `stages.stage.ShardWriter` for tubes; memory holds the rows of the current video.

    The bytes depend only on what was added and kept, in that order.

    Args:
        path: the temporary file to write; created or emptied.
        shard: name of the shard, for the manifest.
    """

    def __init__(self, path: Path, shard: str) -> None:
        self._shard = shard
        self._file = HashedFile(path)
        self._sink = _Sink(self._file)
        self._writer = pq.ParquetWriter(
            pa.PythonFile(self._sink, mode="w"), TUBES_SCHEMA, version="2.6", data_page_version="1.0",
            compression="zstd", compression_level=3, use_dictionary=True, write_statistics=True,
        )  # fmt: skip
        self._manifest: list[pa.RecordBatch] = []
        self._kept: set[str] = set()
        self._rows = 0
        self._video: str | None = None
        self._looked: _Looked | None = None
        self._masks: list[str] = []
        self._batches: list[pa.RecordBatch] = []

    def add(
        self,
        video: str,
        mask: str,
        size: tuple[int, int],
        frames: Sequence[int] | np.ndarray,
        pts: Sequence[float] | np.ndarray,
        found: Sequence[TubeFrame],
        slots: Mapping[int, np.ndarray] | None = None,
        names: Mapping[int, TubeName] | None = None,
    ) -> None:
        """Add the tubes of one kind of masks to the current video.

        Args:
            video: id of the video; it stays the same until `keep` or `discard`.
            mask: the kind, once per video; the published one first.
            size: height and width of the upright frames; frames, times and size are those of the other kinds.
            frames: indices of the stored frames in the source, rising.
            pts: their times in seconds.
            found: in any order.
            slots: slot vector, (d,), by tube; None where the method has none.
            names: by tube; None where nothing has been named.

        Raises:
            ValueError: one of these rules is broken.
        """
        looked = _Looked(size, [int(i) for i in frames], [float(t) for t in pts])
        self._check(video, mask, looked, found)
        self._video, self._looked = video, looked
        self._masks.append(mask)
        if found:
            self._batches.append(_batch(video, mask, looked, found, slots, names))

    def keep(self, video: str) -> None:
        """Write the current video.

        Raises:
            ValueError: nothing was added for it, not even a kind of masks without tubes.
            StoreError: there is no room or no right to write.
        """
        if video != self._video or self._looked is None:
            raise ValueError(f"shard {self._shard}: {video} can't be kept, nothing was added for it")
        table = pa.Table.from_batches(self._batches, TUBES_SCHEMA).combine_chunks()
        if table.num_rows:
            self._writer.write_table(table, row_group_size=table.num_rows)
        height, width = self._looked.size
        entry = {
            "video": video,
            "shard": self._shard,
            "row": self._rows,
            "rows": table.num_rows,
            "masks": self._masks,
            "frame": self._looked.frames,
            "pts": self._looked.pts,
            "height": height,
            "width": width,
        }
        self._manifest.append(pa.RecordBatch.from_pylist([entry], TUBES_MANIFEST))
        self._rows += table.num_rows
        self._kept.add(video)
        self._forget()

    def discard(self, video: str) -> None:
        """Forget what was added for the current video."""
        self._forget()

    def finish(self) -> WrittenShard:
        """Write the end of the file, flushed and fsynced.

        Raises:
            ValueError: a video was neither kept nor discarded.
            StoreError: there is no room or no right to write.
        """
        if self._video is not None:
            raise ValueError(f"shard {self._shard}: video {self._video} was neither kept nor discarded")
        self._writer.close()
        sha256 = self._file.finish()
        rows = pa.Table.from_batches(self._manifest, TUBES_MANIFEST).combine_chunks()
        return WrittenShard(self._file.path, self._file.size, sha256, rows)

    def abort(self) -> None:
        """Remove the temporary file."""
        self._forget()
        self._sink.dropped = True  # what pyarrow still wants to write when it is closed
        with contextlib.suppress(OSError, pa.ArrowException):
            self._writer.close()
        self._file.remove()

    def _forget(self) -> None:
        self._video = self._looked = None
        self._masks, self._batches = [], []

    def _check(self, video: str, mask: str, looked: _Looked, found: Sequence[TubeFrame]) -> None:
        where = f"shard {self._shard}, video {video}, masks {mask}"
        if video in self._kept:
            raise ValueError(f"{where}: the video is there already")
        if self._video not in (None, video):
            raise ValueError(f"{where}: {self._video} was neither kept nor discarded")
        if mask in self._masks:
            raise ValueError(f"{where}: they were added already")
        if self._looked not in (None, looked):
            raise ValueError(f"{where}: frames, times or size differ from those of {self._masks[0]}")
        if len(looked.frames) != len(looked.pts) or np.any(np.diff(looked.frames) <= 0):
            raise ValueError(f"{where}: {len(looked.frames)} rising frames with a time each are needed")
        if len({(f.tube, f.position) for f in found}) != len(found):
            raise ValueError(f"{where}: a tube comes twice in one frame")
        if any(not 0 <= f.position < len(looked.frames) or f.tube < 0 or f.area < 1 for f in found):
            raise ValueError(
                f"{where}: a tube has a negative number, no pixels, or a frame that is not stored"
            )


def _batch(
    video: str,
    mask: str,
    looked: _Looked,
    found: Sequence[TubeFrame],
    slots: Mapping[int, np.ndarray] | None,
    names: Mapping[int, TubeName] | None,
) -> pa.RecordBatch:
    """Rows of `TUBES_SCHEMA`, sorted by tube and frame."""
    found = sorted(found, key=lambda f: (f.tube, f.position))
    count = len(found)
    size = np.tile(np.array(looked.size, np.int32), count)
    box = np.array([f.box for f in found], np.int32).reshape(-1)
    columns: dict[str, Any] = {
        "video": [video] * count,
        "mask": [mask] * count,
        "tube": [f.tube for f in found],
        "frame": [looked.frames[f.position] for f in found],
        "pts": [looked.pts[f.position] for f in found],
        "size": pa.FixedSizeListArray.from_arrays(pa.array(size), 2),
        "rle": [f.rle for f in found],
        "box": pa.FixedSizeListArray.from_arrays(pa.array(box), 4),
        "area": [f.area for f in found],
        "score": [f.score for f in found],
        **_of_tubes([f.tube for f in found], slots, names),
    }
    arrays = [
        value if isinstance(value, pa.Array) else pa.array(value, field.type)
        for field in TUBES_SCHEMA
        for value in [columns[field.name]]
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=TUBES_SCHEMA)


def _of_tubes(
    tubes: Sequence[int], slots: Mapping[int, np.ndarray] | None, names: Mapping[int, TubeName] | None
) -> dict[str, pa.Array]:
    """The columns `OF_TUBE` for every row, given the tube of each row."""
    numbers = sorted(set(tubes))
    places = {number: place for place, number in enumerate(numbers)}
    each: dict[str, list[Any]] = {
        "slot": [None if slots is None else np.asarray(slots[number], np.float32) for number in numbers]
    }
    named = [None if names is None else names[number] for number in numbers]
    each["label"] = [name and name.label for name in named]
    each["label_score"] = [name and name.score for name in named]
    each["top"] = [name and [{"name": n, "score": s} for n, s in name.top] for name in named]
    each["background"] = [name and name.background for name in named]
    each["members"] = [name and list(name.members) for name in named]
    each["classes"] = [name and name.classes for name in named]
    take = pa.array([places[tube] for tube in tubes])
    return {column: pa.array(each[column], TUBES_SCHEMA.field(column).type).take(take) for column in OF_TUBE}
