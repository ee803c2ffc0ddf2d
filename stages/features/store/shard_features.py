"""Reading one committed shard through its manifest alone, right after its commit.

A map stage that streams behind the features stage can't wait for the artifact's index, which covers all
shards and would have to be built again after each. Which videos of the shard count is not looked at here: the
items of the stage say that.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stages.artifacts.layout import Artifact
from stages.artifacts.manifest import DamagedError, damaged, read_rows
from stages.features.store import members
from stages.features.store.gauge import Gauge
from stages.features.store.ranges import ShortReadError, files_below
from stages.features.store.reader import CorruptShardError
from stages.features.store.schema import BANK_VIEW, BASE_VIEW, FEATURE_ROWS, SCALE_SUFFIX


class ShardFeatures:
    """The features of one committed shard.

    Args:
        artifact: the features.
        shard: name of the shard.
        verify: check the CRC-32C of every member that is read.

    Attributes:
        gauge: bytes read over bytes needed so far.

    Raises:
        FileNotFoundError: the shard is not committed.
        DamagedError: its manifest has changed.
    """

    def __init__(self, artifact: Artifact, shard: str, verify: bool = False) -> None:
        self._artifact, self._shard, self._verify = artifact, shard, verify
        rows = read_rows(artifact, shard)
        if not rows.schema.equals(FEATURE_ROWS):
            raise damaged(artifact.manifest(shard), "it is no manifest of features")
        self._rows = rows.combine_chunks()
        self._spans = _spans(self._rows)
        self._series: dict[tuple[str, str, str], members.Series] = {}
        self._frames: dict[tuple[str, bool], tuple[np.ndarray, np.ndarray]] = {}
        self._files = files_below(artifact.root)
        self._name = artifact.shard_name(shard)
        self.gauge = Gauge()

    def videos(self) -> list[str]:
        """Ids of the shard's videos, in its order."""
        return list(self._spans)

    def frames(self, video: str, view: str = BASE_VIEW) -> tuple[np.ndarray, np.ndarray]:
        """Indices of the stored frames in the source, int64 (T,), and times in seconds, float64 (T,).

        Those of the view ``bank`` are its own, see `FeatureStore.frames`.

        Raises:
            KeyError: the shard has no such video.
        """
        key = (video, view == BANK_VIEW)
        if key not in self._frames:
            rows = self._of(video)
            banked = pc.equal(rows["view"], BANK_VIEW)
            rows = rows.filter(banked if key[1] else pc.invert(banked))
            index, first = np.unique(rows["frame"].to_numpy(), return_index=True)
            self._frames[key] = index, rows["pts"].to_numpy()[first]
        index, pts = self._frames[key]
        return index.copy(), pts.copy()

    def shape(self, video: str, facet: str = "tokens", view: str = BASE_VIEW) -> tuple[int, ...]:
        """The shape of the whole video's features: (T, N, D), or (T, D) for a class token.

        Raises:
            KeyError: the shard has no such video, or the video no such facet or view.
        """
        series = self._find(video, view, facet)
        return series.length, *series.shape

    def array(
        self,
        video: str,
        start: int = 0,
        stop: int | None = None,
        facet: str = "tokens",
        view: str = BASE_VIEW,
    ) -> np.ndarray:
        """Features of consecutive frames.

        Args:
            video: id of the video.
            start: first frame, as a position among the stored ones.
            stop: the one after the last; None for the end of the video.
            facet: ``tokens``, ``keys``, ``queries``, ``cls``, …
            view: ``base``, or the name of another view.

        Returns:
            float16 (T, N, D), or (T, D) for a class token; whole numbers as they were stored.

        Raises:
            KeyError: the shard has no such video, or the video no such facet or view.
            IndexError: a position is negative or not below the number of stored frames.
            CorruptShardError: the shard is truncated or, with ``verify``, altered.
            FileNotFoundError: the shard was removed.
        """
        series = self._find(video, view, facet)
        wanted = range(start, series.length if stop is None else stop)
        positions, _ = members.positions_of(wanted, series.length, video)
        try:
            return members.read(self._files, series, positions, self.gauge, self._verify)
        except (ShortReadError, members.ChecksumError) as error:
            raise CorruptShardError(
                f"shard {self._artifact.shard(self._shard)} is damaged, video {video}: {error}; "
                "run the recipe with --verify --repair"
            ) from error

    def close(self) -> None:
        """Close the shard's file; a later read opens it again."""
        self._files.close()

    def _of(self, video: str) -> pa.Table:
        span = self._spans.get(video)
        if span is None:
            path = self._artifact.shard(self._shard)
            raise KeyError(f"no video {video!r} among the {len(self._spans)} of {path}")
        return self._rows.slice(span[0], span[1] - span[0])

    def _find(self, video: str, view: str, facet: str) -> members.Series:
        key = (video, view, facet)
        if key not in self._series:
            self._series[key] = self._made(*key)
        return self._series[key]

    def _made(self, video: str, view: str, facet: str) -> members.Series:
        mine = self._of(video)
        rows = mine.filter(pc.and_(pc.equal(mine["view"], view), pc.equal(mine["facet"], facet)))
        if not rows.num_rows:
            kinds = dict.fromkeys(zip(mine["view"].to_pylist(), mine["facet"].to_pylist(), strict=True))
            stored = ", ".join(f"{v}/{f}" for v, f in kinds if not f.endswith(SCALE_SUFFIX))
            raise KeyError(f"video {video} has no facet {facet!r} of view {view!r}; stored: {stored}")
        rows = rows.sort_by("frame").combine_chunks()
        if rows.num_rows != len(self.frames(video, view)[0]):
            raise damaged(self._artifact.manifest(self._shard), f"frames of video {video} are missing")
        head = rows.slice(0, 1).to_pylist()[0]
        dtype, shape = np.dtype(head["dtype"]), tuple(head["shape"])
        step = dtype.itemsize * int(np.prod(shape))
        return members.Series(
            name=facet if view == BASE_VIEW else f"{view}/{facet}",
            shard=self._name,
            length=rows.num_rows,
            offsets=rows["offset"].to_numpy().data,
            checksums=rows["crc32c"].to_numpy().data,
            head=head["size"] - step,
            step=step,
            shape=shape,
            dtype=dtype,
            scale=self._made(video, view, facet + SCALE_SUFFIX) if dtype == np.int8 else None,
        )


def _spans(rows: pa.Table) -> dict[str, tuple[int, int]]:
    """First row of each video and the one after its last: a writer seals videos one after the other.

    Raises:
        DamagedError: a video's rows are not together.
    """
    if not rows.num_rows:
        return {}
    coded = rows["video"].combine_chunks().dictionary_encode()
    codes = coded.indices.to_numpy()
    starts = np.append(0, np.flatnonzero(np.diff(codes)) + 1)
    names = [coded.dictionary[int(code)].as_py() for code in codes[starts]]
    if len(set(names)) != len(names):
        raise DamagedError("a manifest of features has a video in two places; run --verify --repair")
    return dict(
        zip(names, zip(starts.tolist(), [*starts[1:].tolist(), rows.num_rows], strict=True), strict=True)
    )
