"""``data.kind=folder``: every video file below the root."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import unquote_to_bytes

from stages.catalog.dataset import DataSet
from stages.catalog.errors import CatalogError
from stages.catalog.suffixes import IMAGE, kind_of, suffix_of
from stages.catalog.walk import Refused, Visit, file_row, unseen_row, walk
from stages.stage import Row


class FolderSet(DataSet):
    """Video files in any folder below the root, links followed, hidden files and folders left out.

    A suffix known to be no video's (images, audio, subtitles, text, tables, archives) passes a file over.
    Any other file is an item; with an unknown suffix it is skipped, not rejected, if it turns out to be none.
    """

    def items(self) -> list[Row]:
        """See `DataSet.items`."""
        rows: list[Row] = []
        images = others = 0
        for found in walk(self.root):
            if isinstance(found, Refused):
                rows.append(unseen_row(found.relative))
                continue
            rows.extend(_candidates(found))
            suffixes = [suffix_of(entry.name) for entry in found.files]
            images += sum(suffix in IMAGE for suffix in suffixes)
            others += len(suffixes)
        if not rows:
            hint = "; for folders of images set data.kind=frames" if images else ""
            raise CatalogError(
                f"data.root={self.root} holds no video: {others} files, none a candidate{hint}"
            )
        return rows

    def certain(self, uri: str) -> bool:
        """See `DataSet.certain`: whether the suffix is a video's."""
        return kind_of(unquote_to_bytes(uri).rsplit(b"/", 1)[-1]) == "video"


def _candidates(visit: Visit) -> Iterator[Row]:
    prefix = visit.relative + b"/" if visit.relative else b""
    for entry in visit.files:
        if kind_of(entry.name) != "other":
            yield file_row(prefix + entry.name, entry)
    if not visit.files and not visit.folders and kind_of(visit.relative.rsplit(b"/", 1)[-1]) == "video":
        yield unseen_row(visit.relative)
