"""The catalog as a map stage: listed items in, described and cut into segments, one row each."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

from stages.artifacts.table_writer import ParquetShardWriter
from stages.catalog import content
from stages.catalog.errors import CatalogError
from stages.catalog.ids import path_of, source_id
from stages.catalog.listing import dataset_class, identity
from stages.catalog.spec import DataSpec
from stages.catalog.table import CATALOG_SCHEMA, VideoRow, segment_rows
from stages.outcome import Done, ErrorClass, MediaError, Outcome, Rejected, Skipped
from stages.stage import Attempts, MapStage, Row, WorkContext

if TYPE_CHECKING:
    from stages.decode.frames import Probe

STILLS = "images"
"""What a probe calls the codec of frames that are images of their own, which have no clock but data.fps."""
TOUCHED = "touched: content unchanged"
"""Reason given for a file whose time changed and whose content did not."""

_ROW_BYTES = 256
_NO_VIDEO: tuple[ErrorClass, ...] = ("not_media", "no_video_stream", "empty_file")


class RowWriter(Protocol):
    """What the worker needs of a shard writer."""

    def add(self, row: dict[str, Any]) -> None:
        """Add one row of the current video."""


@dataclass(frozen=True)
class CatalogStage(MapStage):
    """Listed items ``{"uri", "bytes", "mtime"}`` to rows of `CATALOG_SCHEMA`."""

    kind: ClassVar[str] = "catalog"
    suffix: ClassVar[str] = ".parquet"
    hands_on: ClassVar[Literal["rows", "outcomes"]] = "rows"
    data: DataSpec = field(default_factory=DataSpec)

    @property
    def name(self) -> str:
        """``data.name`` in lower case and safe characters, or ``data.kind``."""
        for text in (self.data.name, self.data.kind.rpartition(":")[2]):
            safe = re.sub(r"[^a-z0-9_.-]+", "-", text.lower()).strip("-.")
            if safe:
                return safe
        return self.kind

    def identity(self) -> dict[str, Any]:
        """See `Stage.identity`; settings that the kind of data set does not use are left out."""
        return {**super().identity(), "fields": {"data": identity(self.data)}}

    def open(self, context: WorkContext) -> CatalogWorker:
        """See `MapStage.open`."""
        return CatalogWorker(self.data, context)

    def writer(self, path: Path, shard: str) -> ParquetShardWriter:
        """See `MapStage.writer`."""
        return ParquetShardWriter(path, shard, CATALOG_SCHEMA)

    def estimate(self, row: Row) -> tuple[int, int]:
        """No frames, which nobody knows before the probe, and the bytes of a row."""
        return 0, _ROW_BYTES


class CatalogWorker:
    """Reads, probes and cuts items. The decoder child starts with the first item."""

    def __init__(self, spec: DataSpec, context: WorkContext) -> None:
        from stages.decode.client import DecoderClient

        self._spec = spec
        self._root = context.data_root
        self._dataset = dataset_class(spec.kind)(spec, context.data_root)
        self._client = DecoderClient(context.limits)

    def process(self, items: Sequence[Row], writer: RowWriter, attempts: Attempts) -> Iterator[Outcome]:
        """See `ShardWorker.process`. Done and Skipped carry uri, bytes, mtime and digest in their ``info``.

        An item with a ``known_digest`` is skipped as `TOUCHED` where its content still has that digest.
        """
        for item in items:
            yield from self._process_item(item, writer, attempts)

    def close(self) -> None:
        """End the decoder child."""
        self._client.close()

    def _process_item(self, item: Row, writer: RowWriter, attempts: Attempts) -> Iterator[Outcome]:
        uri = item["uri"]
        source = source_id(uri)
        info = {"uri": uri, "bytes": item["bytes"], "mtime": item["mtime"]}
        try:
            self._dataset.prepare(uri)
            read = self._read(uri)
            info["digest"] = read.digest
            if read.digest == item.get("known_digest"):
                yield Skipped(source, TOUCHED, info | {"unchanged": True})
                return
            probe = self._client.probe(source, path_of(self._root, uri), attempts)
        except MediaError as error:
            yield self._failure(source, error, info)
            return
        for row in segment_rows(self._describe(item, read, probe), self._spec.segment_frames):
            writer.add(dict(row))
            yield Done(row["video"], info)

    def _read(self, uri: str) -> content.Content:
        """The item's content; raises CatalogError when not the item but the whole root is gone."""
        try:
            if self._dataset.holds_frames(uri):
                return content.read_folder_item(self._root, uri)
            return content.read_file_item(self._root, uri)
        except MediaError as error:
            if error.error_class == "unreadable" and not Path(self._root).is_dir():
                raise CatalogError(f"data.root={self._root} has disappeared while {uri} was read") from error
            raise

    def _failure(self, source: str, error: MediaError, info: dict[str, Any]) -> Outcome:
        """A reject, or a skip for a file that nothing but its unknown suffix made a candidate."""
        is_file = "digest" in info or error.error_class == "empty_file"
        if is_file and error.error_class in _NO_VIDEO and not self._dataset.certain(info["uri"]):
            return Skipped(
                source, f"no video ({error.error_class}): {error.message}", {"digest": None, **info}
            )
        return Rejected.of(source, error)

    def _describe(self, item: Row, read: content.Content, probe: Probe) -> VideoRow:
        return {
            "video": "",
            "source": "",
            "uri": item["uri"],
            "start": 0,
            "frames": probe.frames,
            "fps": self._spec.fps if probe.codec == STILLS else probe.fps,
            "height": probe.height,
            "width": probe.width,
            "rotation": probe.rotation,
            "bytes": read.bytes,
            "mtime": item["mtime"],
            "digest": read.digest,
            "truth": self._dataset.truth(item["uri"]),
        }
