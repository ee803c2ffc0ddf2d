"""The tracks stage: named tubes that go on from segment to segment of a long file, under one name.

Plans import this module, so it imports no torch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from stages.artifacts import whole
from stages.artifacts.place import Place, place
from stages.errors import SettingsError
from stages.labeling.named_stage import names_of
from stages.stage import ReduceStage, WorkContext

TRACKS_SCHEMA = pa.schema(
    [
        pa.field("source", pa.string(), nullable=False),  # id of the file
        pa.field("track", pa.int32(), nullable=False),  # from 0, within the source
        pa.field("video", pa.string(), nullable=False),  # the segment
        pa.field("tube", pa.int32(), nullable=False),  # a named tube of it
        pa.field("label", pa.string(), nullable=False),  # of the track
        pa.field("label_score", pa.float32()),  # its probability; null for one that no name fits
        pa.field("first_pts", pa.float64(), nullable=False),  # of the tube, seconds from the file's start
        pa.field("last_pts", pa.float64(), nullable=False),
    ]
)
"""One row per named tube, tracks together, sources sorted."""

TRACKS_FILE = "tracks.parquet"
_ROWS = 2**14
_TOLD = 5


@dataclass(frozen=True)
class TracksSpec:
    """The config section ``tracks``.

    Raises:
        SettingsError: for a threshold that can't be.
    """

    link_threshold: float = 0.5
    """How alike tubes of neighbouring segments of a file have to be to become one track, up to 1; 0 links
    nothing."""

    def __post_init__(self) -> None:
        if not 0 <= self.link_threshold <= 1:
            raise SettingsError(f"tracks.link_threshold={self.link_threshold}: must lie between 0 and 1")


@dataclass(frozen=True)
class TracksStage(ReduceStage):
    """Writes ``tracks.parquet`` (`TRACKS_SCHEMA`); memory holds the tubes of one source.

    Attributes:
        link_threshold: see `TracksSpec`.
    """

    kind: ClassVar[str] = "tracks"

    link_threshold: float = 0.5

    @property
    def name(self) -> str:
        """Always ``tracks``."""
        return "tracks"

    def make(self, inputs: Sequence[Place], folder: Path, context: WorkContext) -> None:
        """See `WholeStage.make`."""
        from stages.merging.tracks import sources, track_source
        from stages.tubes.reader import TubeStore

        named = context.inputs["named"]
        store, names = TubeStore(named), names_of(named)

        def rows() -> Iterator[dict[str, Any]]:
            for source, videos in sources(store).items():
                yield from track_source(store, source, videos, names, self.link_threshold)

        _write(folder / TRACKS_FILE, rows())

    def told(self, folder: Path) -> str:
        """How many tracks there are, and which names most of them have."""
        rows = pq.read_table(folder / TRACKS_FILE, columns=["source", "track", "label", "label_score"])
        tracks = rows.group_by(["source", "track", "label"]).aggregate([("label_score", "count")])
        named = tracks.filter(pc.greater(tracks["label_score_count"], 0))
        labels = Counter(named["label"].to_pylist())
        found = [f"{label} {count:,}" for label, count in labels.most_common(_TOLD)]
        more = ", ..." if len(labels) > _TOLD else ""
        return (
            f"{rows.num_rows:,} tubes in {tracks.num_rows:,} tracks, {named.num_rows:,} of them with a name"
            + (f": {', '.join(found)}{more}" if found else "")
        )


def read_tracks(folder: str | Place) -> pa.Table:
    """The table (`TRACKS_SCHEMA`) of the ``tracks`` artifact in ``folder``.

    Raises:
        FileNotFoundError: it is not there (yet).
    """
    found = whole.files(place(folder))
    if found is None:
        raise FileNotFoundError(f"{folder} is no finished artifact of tracks")
    return pq.read_table(found / TRACKS_FILE)


def _write(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    remaining = iter(rows)
    with pq.ParquetWriter(path, TRACKS_SCHEMA, compression="zstd") as writer:
        while part := list(islice(remaining, _ROWS)):
            writer.write_table(pa.Table.from_pylist(part, TRACKS_SCHEMA))
