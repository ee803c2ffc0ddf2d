"""``data.kind=frames``: every folder that directly holds images is a video."""

from __future__ import annotations

import os
from collections.abc import Iterable

from stages.catalog.dataset import DataSet
from stages.catalog.errors import CatalogError
from stages.catalog.ids import uri_from_path
from stages.catalog.suffixes import FRAME, suffix_of
from stages.catalog.walk import Refused, folder_mtime, unseen_row, walk
from stages.stage import Row


class FramesSet(DataSet):
    """Folders of images at any depth; the root itself may be one (uri ``.``)."""

    folders = True
    uses = ("fps",)

    def items(self) -> list[Row]:
        """See `DataSet.items`."""
        rows: list[Row] = []
        looked = 0
        for found in walk(self.root):
            looked += 1
            if isinstance(found, Refused):
                rows.append(unseen_row(found.relative))
                continue
            images = [entry for entry in found.files if suffix_of(entry.name) in FRAME]
            if images:
                rows.append(images_row(found.relative or b".", images, found.mtime))
        if not rows:
            raise CatalogError(
                f"data.root={self.root} holds no images in any of {looked} folders; "
                "for video files set data.kind=folder"
            )
        return rows


def folder_row(root: str, relative: bytes) -> Row:
    """The row of the folder of images ``relative`` below ``root``, which may turn out not to be there."""
    path = os.path.join(os.fsencode(root), relative)  # noqa: PTH118 - bytes
    try:
        with os.scandir(path) as entries:
            images = [e for e in entries if suffix_of(e.name) in FRAME and not e.name.startswith(b".")]
        return images_row(relative, images, folder_mtime(path))
    except OSError:
        return unseen_row(relative)


def images_row(relative: bytes, images: Iterable[os.DirEntry[bytes]], mtime: int) -> Row:
    """The row of a folder of images: their bytes added up, and the newest time of folder and images (ns)."""
    size = 0
    for entry in images:
        try:
            stat = entry.stat()
        except OSError:  # a dangling link among the images: decoding will name it
            continue
        size += stat.st_size
        mtime = max(mtime, stat.st_mtime_ns)
    return {"uri": uri_from_path(relative), "bytes": size, "mtime": mtime}
