"""Reading tubes: what the manifests say is there, and of a superseded video only the current form."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pycocotools import mask as coco

from stages.artifacts.layout import Artifact
from stages.artifacts.ledger import current_videos
from stages.artifacts.manifest import damaged, read_rows
from stages.artifacts.place import Place, StoreError, parts_of_file, place, version
from stages.tubes.table import TUBE_SCHEMA, TUBES_MANIFEST, TUBES_SCHEMA, tubes_of

NO_TUBE = -1
_OPEN = 4


class TubeShard:
    """One committed shard of tubes; rows are read video by video.

    Args:
        artifact: the tubes.
        shard: name of the shard.

    Raises:
        FileNotFoundError: the shard is not committed.
        DamagedError: its manifest has changed.
    """

    def __init__(self, artifact: Artifact, shard: str) -> None:
        self._path = artifact.shard(shard)
        rows = read_rows(artifact, shard)
        if not rows.schema.equals(TUBES_MANIFEST):
            raise damaged(artifact.manifest(shard), "it is no manifest of tubes")
        self._rows = rows
        self._places = {video: place for place, video in enumerate(rows["video"].to_pylist())}

    @classmethod
    def open(cls, folder: str | Place, shard: str) -> TubeShard:
        """The shard of the artifact in ``folder``; the last few stay open, until they are committed anew."""
        artifact = Artifact.at(folder)
        return _opened(artifact, shard, version(artifact.manifest(shard)))

    def videos(self) -> list[str]:
        """Ids of the videos, in the order of the shard."""
        return list(self._places)

    def kinds(self, video: str) -> tuple[str, ...]:
        """The kinds of masks that the video has, the published one first.

        Raises:
            KeyError: the shard has no such video. So do all methods below.
        """
        return tuple(self._value(video, "masks"))

    def frames(self, video: str) -> np.ndarray:
        """Indices of the video's T frames in its source, int64 (T,); those without tubes too."""
        return np.array(self._value(video, "frame"), np.int64)

    def times(self, video: str) -> np.ndarray:
        """Presentation times of the frames in seconds, float64 (T,)."""
        return np.array(self._value(video, "pts"), np.float64)

    def size(self, video: str) -> tuple[int, int]:
        """Height and width of the upright frames, in pixels."""
        return self._value(video, "height"), self._value(video, "width")

    def rows(self, video: str, mask: str | None = None, columns: Sequence[str] | None = None) -> pa.Table:
        """The rows (`TUBES_SCHEMA`) of a video, sorted by kind of mask, tube and frame.

        Args:
            mask: one kind only; None for all.
            columns: those that are wanted, in this order; ``video`` and ``mask`` come before them. None for
                all.

        Raises:
            KeyError: the video has no such masks.
            DamagedError: the shard is not what was written.
            FileNotFoundError: it was removed.
        """
        if mask is not None and mask not in self.kinds(video):
            raise KeyError(f"video {video} has no {mask} masks; there are {', '.join(self.kinds(video))}")
        table = self._read(self._value(video, "row"), self._value(video, "rows"), video, columns)
        return table if mask is None else table.filter(pc.equal(table["mask"], mask))

    def current(
        self, videos: Sequence[str], mask: str | None = None, columns: Sequence[str] | None = None
    ) -> pa.Table:
        """The rows of several videos at once, as `rows` has them; of the whole shard only these columns are
        read.
        """
        wanted = _with_key(columns)
        try:
            table = pq.read_table(parts_of_file(self._path), columns=wanted, use_threads=False)
        except (FileNotFoundError, StoreError):
            raise
        except (pa.ArrowException, OSError) as error:
            raise damaged(self._path, error) from error
        chosen = pc.is_in(table["video"], pa.array(videos, pa.string()))
        if mask is not None:
            chosen = pc.and_(chosen, pc.equal(table["mask"], mask))
        return table.filter(chosen).select(wanted).replace_schema_metadata(None)

    def tubes(self, video: str, mask: str | None = None) -> pa.Table:
        """The tubes (`stages.tubes.table.TUBE_SCHEMA`) of a video, sorted by kind of mask and tube."""
        return tubes_of(self.rows(video, mask))

    def label_map(self, video: str, mask: str, positions: Sequence[int] | None = None) -> np.ndarray:
        """The tube that every pixel belongs to, int16 (T, H, W); -1 for none.

        Where tubes overlap, the one with the higher score in that frame has the pixel.

        Args:
            positions: of the frames that are wanted, among the video's; None for all.
        """
        wanted = range(len(self.frames(video))) if positions is None else positions
        places = {position: place for place, position in enumerate(wanted)}
        labels = np.full((len(places), *self.size(video)), NO_TUBE, np.int16)
        for position, rows in self._by_frame(video, mask):
            if position not in places:
                continue
            order = np.argsort([row["score"] for row in rows], kind="stable")
            masks = decoded(rows)
            columns = labels[places[position]].T
            for i in order.tolist():
                np.copyto(columns, np.int16(rows[i]["tube"]), where=masks[i])
        return labels

    def masks(self, video: str, mask: str) -> dict[int, np.ndarray]:
        """The pixels of every tube, bool (T, H, W) by tube: for tubes that overlap."""
        count, size = len(self.frames(video)), self.size(video)
        result = {
            tube: np.zeros((count, *size), bool) for tube in self.tubes(video, mask)["tube"].to_pylist()
        }
        for position, rows in self._by_frame(video, mask):
            for row, found in zip(rows, decoded(rows), strict=True):
                result[row["tube"]][position] = found.T
        return result

    def _by_frame(self, video: str, mask: str) -> Iterator[tuple[int, list[dict[str, Any]]]]:
        """Positions of frames that have tubes, with the rows of each."""
        places = {frame: position for position, frame in enumerate(self.frames(video).tolist())}
        found: dict[int, list[dict[str, Any]]] = {}
        rows = self.rows(video, mask, ("tube", "frame", "size", "rle", "score"))
        for row in rows.drop(["video", "mask"]).to_pylist():
            found.setdefault(places[row["frame"]], []).append(row)
        yield from found.items()

    @cached_property
    def _groups(self) -> tuple[pq.FileMetaData, np.ndarray]:
        """The shard's description, and the row behind each of its row groups."""
        found = pq.read_metadata(parts_of_file(self._path))
        return found, np.cumsum([found.row_group(i).num_rows for i in range(found.num_row_groups)])

    def _value(self, video: str, column: str) -> Any:
        place = self._places.get(video)
        if place is None:
            raise KeyError(f"no video {video!r} among the {len(self._places)} of {self._path}")
        return self._rows[column][place].as_py()

    def _read(self, start: int, count: int, video: str, columns: Sequence[str] | None) -> pa.Table:
        """Rows ``start`` to ``start + count``: the row groups that hold them, cut."""
        kept = _with_key(columns)
        try:
            metadata, ends = self._groups
            with pq.ParquetFile(parts_of_file(self._path), metadata=metadata) as file:
                wanted = np.flatnonzero((ends > start) & (np.append(0, ends[:-1]) < start + count)).tolist()
                if not wanted:
                    return TUBES_SCHEMA.empty_table().select(kept)
                table = file.read_row_groups(wanted, columns=kept, use_threads=False)
        except (FileNotFoundError, StoreError):
            raise
        except (pa.ArrowException, OSError) as error:
            raise damaged(self._path, error) from error
        table = table.slice(start - (int(ends[wanted[0] - 1]) if wanted[0] else 0), count)
        if table.num_rows != count or pc.unique(table["video"]).to_pylist() != [video]:
            raise damaged(self._path, f"it does not hold the {count} rows of video {video}")
        return table.select(kept).replace_schema_metadata(None)


def _with_key(columns: Sequence[str] | None) -> list[str]:
    """Columns to read, so that rows tell their video and kind of masks."""
    if columns is None:
        return TUBES_SCHEMA.names
    return ["video", "mask", *(name for name in columns if name not in ("video", "mask"))]


@lru_cache(maxsize=_OPEN)
def _opened(artifact: Artifact, shard: str, committed: str) -> TubeShard:
    return TubeShard(artifact, shard)


def decoded(rows: list[dict[str, Any]]) -> np.ndarray:
    """Masks of some rows of one frame, bool (n, W, H): columns first, as run lengths of COCO go."""
    runs = [{"size": row["size"], "counts": row["rle"].encode("ascii")} for row in rows]
    masks: np.ndarray = coco.decode(runs).transpose(2, 1, 0).view(bool)
    return masks


class TubeStore:
    """The tubes of one artifact as it is now: shards committed later need a new `TubeStore`.

    Args:
        folder: the artifact's folder.

    Raises:
        FileNotFoundError: there is no artifact.
        ValueError: it has another format version, or a manifest is damaged.
    """

    def __init__(self, folder: str | Place) -> None:
        self._folder = place(folder)
        table = current_videos(self._folder)
        self._shards: dict[str, str] = dict(
            zip(table["video"].to_pylist(), table["shard"].to_pylist(), strict=True)
        )

    def videos(self) -> list[str]:
        """Ids of all current videos with a result, sorted."""
        return list(self._shards)

    def kinds(self, video: str | None = None) -> tuple[str, ...]:
        """The kinds of masks of a video (default: the first one), the published one first; () without videos.

        Raises:
            KeyError: there is no such video.
        """
        if video is None and not self._shards:
            return ()
        video = next(iter(self._shards)) if video is None else video
        return self.shard(video).kinds(video)

    def shard(self, video: str) -> TubeShard:
        """The shard that holds the video's current tubes.

        Raises:
            KeyError: there is no such video. So do all methods below, and what `TubeShard`'s raise.
        """
        return TubeShard.open(self._folder, self.shard_of(video))

    def shard_of(self, video: str) -> str:
        """The name of that shard."""
        if video not in self._shards:
            raise KeyError(f"no video {video!r} among the {len(self._shards)} of {self._folder}")
        return self._shards[video]

    def frames(self, video: str) -> np.ndarray:
        """See `TubeShard.frames`."""
        return self.shard(video).frames(video)

    def label_map(self, video: str, mask: str, positions: Sequence[int] | None = None) -> np.ndarray:
        """See `TubeShard.label_map`."""
        return self.shard(video).label_map(video, mask, positions)

    def parts(self, mask: str | None = None, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """The rows of all videos, one table per shard: what memory holds. See `TubeShard.current`."""
        videos: dict[str, list[str]] = {}
        for video, shard in self._shards.items():
            videos.setdefault(shard, []).append(video)
        for shard in sorted(videos):
            yield TubeShard.open(self._folder, shard).current(videos[shard], mask, columns)

    def rows(self, video: str, mask: str | None = None, columns: Sequence[str] | None = None) -> pa.Table:
        """See `TubeShard.rows`."""
        return self.shard(video).rows(video, mask, columns)

    def tubes(self, video: str, mask: str | None = None) -> pa.Table:
        """See `TubeShard.tubes`."""
        return self.shard(video).tubes(video, mask)


def read_frames(folder: str | Place, mask: str | None = None) -> pa.Table:
    """All current rows (`TUBES_SCHEMA`) of an artifact: one per tube and frame. Holds them all in memory."""
    store = TubeStore(folder)
    tables = [store.rows(video, mask) for video in store.videos()]
    return pa.concat_tables([TUBES_SCHEMA.empty_table(), *tables])


def read_tubes(folder: str | Place, mask: str | None = None) -> pa.Table:
    """All current tubes (`stages.tubes.table.TUBE_SCHEMA`) of an artifact: one row each."""
    store = TubeStore(folder)
    tables = [store.tubes(video, mask) for video in store.videos()]
    return pa.concat_tables([TUBE_SCHEMA.empty_table(), *tables])
