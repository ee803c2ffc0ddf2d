"""``data.kind=movi_e``: MOVi-E as TensorFlow Datasets stores it, read without TensorFlow.

Below the root, at any depth, lie files ``movi_e-<split>.tfrecord-XXXXX-of-YYYYY`` (the original layout is
``movi_e/256x256/1.0.0/``). Every example in them is a video: its uri is the file's path, ``#`` and the offset
of its record in bytes. Frames are the images of the feature ``video``, ground truth those of
``segmentations``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np

from stages.catalog import tfrecord
from stages.catalog.dataset import DataSet
from stages.catalog.errors import CatalogError
from stages.catalog.ids import path_of, uri_from_path
from stages.catalog.masks import read_ids
from stages.catalog.splits import refuse_unknown, refuse_unscored, split_names
from stages.catalog.walk import Refused, unseen_row, walk
from stages.decode.classify import media_error
from stages.decode.names import file_of
from stages.stage import Row

FRAMES = "video"
"""The feature of an example that holds its frames: a PNG or JPEG per frame."""
MASKS = "segmentations"
"""The feature of an example that holds its masks: a PNG per frame, the value is the object, 0 background."""

_NAME = re.compile(rb".*movi_e-(?P<split>[A-Za-z0-9_]+)\.tfrecord-(?P<number>\d{5})-of-(?P<count>\d{5})")
_LAYOUT = "movi_e-<split>.tfrecord-XXXXX-of-YYYYY"


@dataclass(frozen=True)
class _Shard:
    folder: bytes
    name: bytes
    split: str
    number: int
    count: int
    mtime: int
    is_file: bool

    @property
    def relative(self) -> bytes:
        return self.folder + b"/" + self.name if self.folder else self.name

    def sibling(self, number: int) -> bytes:
        """Path of shard ``number`` of the same set."""
        return b"%s%05d-of-%05d" % (self.relative[: -len(b"00000-of-00000")], number, self.count)


class MoviESet(DataSet):
    """The examples of the splits that ``data.split`` names: one, several joined by ``+``, or all."""

    uses = ("split", "scored", "fps")

    def items(self) -> list[Row]:
        """See `DataSet.items`; this one opens the files, to read the 12 bytes at the head of every record.

        A shard that its siblings' names promise and that is not there is an item that will be rejected, and
        so is a damaged record, after which the rest of its file can't be found.
        """
        rows: list[Row] = []
        shards: list[_Shard] = []
        others = folders = 0
        for found in walk(self.root):
            if isinstance(found, Refused):
                rows.append(unseen_row(found.relative))
                continue
            here = [shard for entry in found.files if (shard := _shard(found.relative, entry)) is not None]
            shards += here
            others += len(found.files) - len(here)
            folders += 1
        if not shards:
            raise CatalogError(
                f"data.root={self.root} holds no {_LAYOUT}: {others} other files in {folders} folders; "
                "set data.root to the folder that holds movi_e/256x256/1.0.0"
            )
        chosen = self._chosen(shards)
        if self.spec.scored != "all":
            names = split_names(self.spec.scored) or []
            refuse_unknown("data.scored", names, sorted({s.split for s in shards}), f"data.root={self.root}")
            refuse_unscored(self.spec.scored, self.spec.split, sum(s.split in names for s in chosen))
        for shard in chosen:
            rows.extend(self._rows(shard))
        return rows + [unseen_row(relative + b"#0") for relative in _missing(chosen)]

    def prepare(self, uri: str) -> None:
        """Refuse an example of a shard that is not there; see `DataSet.prepare`.

        Raises:
            MediaError: ``unreadable``.
        """
        path = file_of(path_of(self.root, uri))
        if Path(self.root).is_dir() and not os.path.lexists(path):
            what = "this shard is missing, though the names of the others count it: download it"
            raise media_error(path, "unreadable", what)

    def truth(self, uri: str) -> str | None:
        """``movi_e:`` and the example's uri, for `read_masks`; None where ``data.scored`` leaves it out."""
        match = _NAME.fullmatch(os.fsencode(file_of(path_of("", uri))))
        scored = split_names(self.spec.scored)
        if scored is not None and (match is None or match["split"].decode() not in scored):
            return None
        return f"movi_e:{uri}"

    def _chosen(self, shards: Sequence[_Shard]) -> list[_Shard]:
        has = sorted({shard.split for shard in shards})
        wanted = split_names(self.spec.split) or has
        refuse_unknown("data.split", wanted, has, f"data.root={self.root}")
        chosen = [shard for shard in shards if shard.split in wanted]
        seen: dict[bytes, bytes] = {}
        for shard in chosen:
            if seen.setdefault(shard.name, shard.folder) != shard.folder:
                first, second = (os.fsdecode(f) or "." for f in (seen[shard.name], shard.folder))
                raise CatalogError(
                    f"data.root={self.root} holds {os.fsdecode(shard.name)} twice, in {first} and {second}: "
                    "set data.root to the one resolution to take"
                )
        return chosen

    def _rows(self, shard: _Shard) -> Iterator[Row]:
        path = os.path.join(self.root, os.fsdecode(shard.relative))  # noqa: PTH118 - any bytes
        if not shard.is_file:  # a dangling link, a FIFO: nothing that may be opened
            yield unseen_row(shard.relative + b"#0")
            return
        try:
            for at, size in tfrecord.offsets(path):
                yield {
                    "uri": uri_from_path(b"%s#%d" % (shard.relative, at)),
                    "bytes": size,
                    "mtime": shard.mtime,
                }
        except OSError:
            yield unseen_row(shard.relative + b"#0")


def _shard(folder: bytes, entry: os.DirEntry[bytes]) -> _Shard | None:
    match = _NAME.fullmatch(entry.name)
    if match is None:
        return None
    mtime, is_file = 0, False
    try:
        if is_file := entry.is_file():
            mtime = entry.stat().st_mtime_ns
    except OSError:
        is_file = False
    number, count = int(match["number"]), int(match["count"])
    return _Shard(folder, entry.name, match["split"].decode(), number, count, mtime, is_file)


def _missing(shards: Sequence[_Shard]) -> list[bytes]:
    """Paths of the shards that the names of the others promise, each beside the first of its set."""
    sets: dict[tuple[bytes, int], list[_Shard]] = {}
    for shard in shards:
        sets.setdefault((shard.name[: -len(b"00000-of-00000")], shard.count), []).append(shard)
    missing: list[bytes] = []
    for found in sets.values():
        numbers = {shard.number for shard in found}
        missing += [found[0].sibling(n) for n in range(found[0].count) if n not in numbers]
    return missing


def read_masks(root: str, uri: str, frames: Sequence[int]) -> list[np.ndarray]:
    """The masks of the example ``uri`` for the frame indices ``frames``: uint8 (H, W), 0 for background.

    Raises:
        MediaError: ``annotation`` where a mask is missing or broken; ``truncated`` or ``unreadable`` where
            the record is damaged.
    """
    path = path_of(root, uri)
    features = tfrecord.parse_example(tfrecord.read_record(path), path)
    if MASKS not in features:
        what = f"the example has no feature {MASKS!r}, so it can't be scored"
        raise media_error(path, "annotation", f"{what}: take it out or download the file again")
    images, count = features[MASKS], len(features.get(FRAMES, ()))
    if len(images) != count:
        what = f"the feature {MASKS!r} has {len(images)} masks for {count} frames"
        raise media_error(path, "annotation", f"{what}: download the file again")
    beyond = [frame for frame in frames if not 0 <= frame < count]
    if beyond:
        what = f"frame {beyond[0]} is not there any more, the example has {count}: run again to catalogue it"
        raise media_error(path, "annotation", what)
    found: list[np.ndarray] = []
    for frame in frames:
        name = f"the mask of frame {frame}"
        try:
            ids, void = read_ids(BytesIO(images[frame]), name, binary=False)
        except (OSError, ValueError, SyntaxError, EOFError) as error:
            raise media_error(path, "annotation", f"{name} is broken: download the file again") from error
        found.append(np.where(void, np.uint8(255), ids))  # no value is void here
    return found
