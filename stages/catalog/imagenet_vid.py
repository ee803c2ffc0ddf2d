"""``data.kind=imagenet_vid``: ImageNet-VID (ILSVRC 2015) as it is downloaded.

``Data/VID/snippets/train/<package>/<snippet>.mp4`` are the videos of the split train. Those of val are
folders of frames, ``Data/VID/val/<video>/000000.JPEG``; ``Annotations/VID/val/<video>/000000.xml`` has boxes.
"""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path
from urllib.parse import unquote

from stages.catalog.dataset import DataSet
from stages.catalog.errors import CatalogError
from stages.catalog.frames import folder_row
from stages.catalog.ids import path_of
from stages.catalog.splits import refuse_unknown, split_names
from stages.catalog.suffixes import kind_of
from stages.catalog.walk import Refused, check_root, file_row, unseen_row, walk
from stages.outcome import MediaError
from stages.stage import Row

SPLITS = {"train": "Data/VID/snippets/train", "val": "Data/VID/val"}
"""Where the videos of each split lie."""
BOXES = "Annotations/VID/val"

_INSTEAD = {"train": "Data/VID/train", "val": "Data/VID/snippets/val"}
"""The same videos in the form that is not read."""


class ImagenetVidSet(DataSet):
    """The videos of the splits that ``data.split`` names: ``train``, ``val``, ``train+val``; None: all there.

    Ground truth is ``imagenet_vid:`` and the folder of XML files, for videos of val. Where there are boxes of
    val at all, a video without any is named all the same, and scoring rejects it.
    """

    uses = ("split", "fps")

    def items(self) -> list[Row]:
        """See `DataSet.items`. A folder of boxes whose frames are absent is an item that will be rejected."""
        check_root(self.root)
        rows: list[Row] = []
        for split in self._chosen():
            rows += self._snippets() if split == "train" else self._folders()
        return rows

    def holds_frames(self, uri: str) -> bool:
        """See `DataSet.holds_frames`."""
        return not uri.startswith(f"{SPLITS['train']}/")

    def prepare(self, uri: str) -> None:
        """Refuse boxes without frames; see `DataSet.prepare`.

        Raises:
            MediaError: ``annotation``.
        """
        if uri.startswith(f"{BOXES}/"):
            frames = unquote(f"{SPLITS['val']}/{uri.rpartition('/')[2]}")
            what = f"boxes of frames that are not there: unpack {frames} or remove them"
            raise MediaError("annotation", f"{unquote(uri)}: {what}")

    def truth(self, uri: str) -> str | None:
        """See `DataSet.truth` and the class."""
        return f"imagenet_vid:{BOXES}/{uri.rpartition('/')[2]}" if self._scored(uri) else None

    def _scored(self, uri: str) -> bool:
        return uri.startswith(f"{SPLITS['val']}/") and self._has_boxes

    @cached_property
    def _has_boxes(self) -> bool:
        return Path(self.root, BOXES).is_dir()

    def _chosen(self) -> list[str]:
        """The wanted splits, of which everything has to be there."""
        names = split_names(self.spec.split)
        there = [split for split, folder in SPLITS.items() if Path(self.root, folder).is_dir()]
        if names is None and there:
            return there
        wanted = list(SPLITS) if names is None else names
        refuse_unknown("data.split", wanted, list(SPLITS), "data.kind=imagenet_vid")
        missing = [split for split in SPLITS if split in wanted and split not in there]
        if missing:
            folders = " and ".join(SPLITS[split] for split in missing)
            raise CatalogError(f"data.root={self.root} has no folder {folders}: {self._advice(missing[0])}")
        return [split for split in SPLITS if split in wanted]

    def _advice(self, split: str) -> str:
        inside = next(Path(self.root).glob("*/Data/VID"), None)
        if inside is not None:
            return f"set data.root to {inside.parent.parent}"
        if Path(self.root, _INSTEAD[split]).is_dir():
            return f"{_INSTEAD[split]} is there, but not that form of it: unpack that part of ImageNet-VID"
        return "unpack that part of ImageNet-VID there, or name other splits in data.split"

    def _snippets(self) -> list[Row]:
        rows: list[Row] = []
        others = 0
        for found in walk(str(Path(self.root, SPLITS["train"]))):
            prefix = b"/".join(part for part in (SPLITS["train"].encode(), found.relative) if part)
            if isinstance(found, Refused):
                rows.append(unseen_row(prefix))
                continue
            videos = [entry for entry in found.files if kind_of(entry.name) == "video"]
            rows += [file_row(prefix + b"/" + entry.name, entry) for entry in videos]
            others += len(found.files) - len(videos)
            if found.relative and not found.files and not found.folders:
                rows.append(unseen_row(prefix))  # a package that was not unpacked
        if not rows:
            where = f"{SPLITS['train']} under data.root={self.root}"
            raise CatalogError(f"{where} holds no snippet (*.mp4), {others} other files: unpack the snippets")
        return rows

    def _folders(self) -> list[Row]:
        videos = self._names(SPLITS["val"])
        if not videos:
            where = f"{SPLITS['val']} under data.root={self.root}"
            raise CatalogError(f"{where} holds no folder of frames: unpack the frames of val there")
        rows = [folder_row(self.root, SPLITS["val"].encode() + b"/" + name) for name in videos]
        boxes = self._names(BOXES) if self._has_boxes else []
        return rows + [unseen_row(BOXES.encode() + b"/" + n) for n in sorted(set(boxes) - set(videos))]

    def _names(self, folder: str) -> list[bytes]:
        path = path_of(self.root, folder)
        try:
            with os.scandir(os.fsencode(path)) as entries:
                return sorted(e.name for e in entries if not e.name.startswith(b".") and e.is_dir())
        except OSError as error:
            raise CatalogError(f"{folder} under data.root={self.root} can't be listed: {error}") from error
