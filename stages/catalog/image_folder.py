"""``data.kind=image_folder``: pictures in folders of classes, the layout of ImageNet-1K; each is a video.

``<split>/<class>/<picture>.JPEG``, or without folders of splits, or without folders of classes: every picture
below the root, or below the splits that are named, is a video of one frame. Classes are not read.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

from stages.catalog.dataset import DataSet
from stages.catalog.errors import CatalogError
from stages.catalog.ids import path_of
from stages.catalog.splits import refuse_unknown, split_names
from stages.catalog.suffixes import FRAME, suffix_of
from stages.catalog.walk import Refused, check_root, file_row, unseen_row, walk
from stages.outcome import MediaError
from stages.stage import Row

_ARCHIVES = frozenset(b"tar tgz gz zip".split())


class ImageFolderSet(DataSet):
    """Pictures at any depth. ``data.split`` names folders directly below the root; None takes everything.

    Any picture that can be read is taken, one pixel and extreme aspects included: what becomes of it is
    decided by ``decode.size`` alone. ``[height, width]``, the default of this kind, stretches it; a short
    side keeps its aspect, and a picture whose frame would then outgrow the decoder's memory is a reject.
    """

    uses = ("split",)

    def items(self) -> list[Row]:
        """See `DataSet.items`. An empty folder, of which nothing was unpacked, will be rejected."""
        check_root(self.root)
        rows: list[Row] = []
        archives = folders = 0
        for split in self._splits():
            for found in walk(str(Path(self.root, split))):
                prefix = os.fsencode(split) + b"/" if split else b""
                folders += 1
                if isinstance(found, Refused):
                    rows.append(unseen_row(prefix + found.relative))
                    continue
                suffixes = [suffix_of(entry.name) for entry in found.files]
                archives += sum(suffix in _ARCHIVES for suffix in suffixes)
                inside = prefix + found.relative + b"/" if found.relative else prefix
                rows += [
                    file_row(inside + entry.name, entry)
                    for entry, suffix in zip(found.files, suffixes, strict=True)
                    if suffix in FRAME
                ]
                if found.relative and not found.files and not found.folders:
                    rows.append(unseen_row(prefix + found.relative))
        if not any(row["bytes"] >= 0 for row in rows):
            hint = f"; unpack the {archives} archives there" if archives else ""
            hint = hint or "; for video files set data.kind=folder"
            raise CatalogError(f"data.root={self.root} holds no picture in any of {folders} folders{hint}")
        return rows

    def prepare(self, uri: str) -> None:
        """Refuse a folder; see `DataSet.prepare`.

        Raises:
            MediaError: ``no_frames``.
        """
        path = Path(path_of(self.root, uri))
        if path.is_dir() and not any(path.glob("[!.]*")):
            what = "is a folder without pictures: unpack its pictures again or remove it"
            raise MediaError("no_frames", f"{unquote(uri)}: {what}")

    def _splits(self) -> list[str]:
        names = split_names(self.spec.split)
        if names is None:
            return [""]
        refuse_unknown("data.split", names, sorted(self._folders()), f"data.root={self.root}")
        return sorted(set(names))

    def _folders(self) -> Iterator[str]:
        with os.scandir(self.root) as entries:
            yield from (entry.name for entry in entries if not entry.name.startswith(".") and entry.is_dir())
