"""``data.kind=folder``: every video file below the root."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import unquote, unquote_to_bytes

from stages.catalog.dataset import DataSet
from stages.catalog.errors import CatalogError
from stages.catalog.ids import path_of, uri_from_path
from stages.catalog.mask_folder import FOLDER, candidates, holds_masks
from stages.catalog.suffixes import IMAGE, kind_of, suffix_of
from stages.catalog.walk import Refused, Visit, file_row, unseen_row, walk
from stages.outcome import MediaError
from stages.stage import Row


class FolderSet(DataSet):
    """Video files in any folder below the root, links followed, hidden files and folders left out.

    A suffix known to be no video's (images, audio, subtitles, text, tables, archives) passes a file over.
    Any other file is an item; with an unknown suffix it is skipped, not rejected, if it turns out to be none.
    A folder of masks beside a video, see `stages.catalog.mask_folder.candidates`, is its ground truth.
    """

    uses = ("mask_values",)

    def items(self) -> list[Row]:
        """See `DataSet.items`.

        Where masks of some video are found, a folder of masks of no video is an item that will be rejected.
        """
        rows: list[Row] = []
        masks: list[bytes] = []
        images = others = 0
        for found in walk(self.root):
            if isinstance(found, Refused):
                rows.append(unseen_row(found.relative))
                continue
            rows.extend(_candidates(found))
            suffixes = [suffix_of(entry.name) for entry in found.files]
            images += sum(suffix in IMAGE for suffix in suffixes)
            if b"png" in suffixes and b"/%s/" % FOLDER.encode() in b"/%s" % found.relative:
                masks.append(found.relative)
            others += len(suffixes)
        if not rows:
            hint = "; for folders of images set data.kind=frames" if images else ""
            raise CatalogError(
                f"data.root={self.root} holds no video: {others} files, none a candidate{hint}"
            )
        return rows + [unseen_row(folder) for folder in _strays(masks, rows)]

    def prepare(self, uri: str) -> None:
        """Refuse a folder of masks without a video; see `DataSet.prepare`.

        Raises:
            MediaError: ``annotation``.
        """
        if f"/{FOLDER}/" in f"/{uri}" and holds_masks(path_of(self.root, uri)):
            what = (
                "masks of a video that is not there: add the video, rename the folder like it, or remove it"
            )
            raise MediaError("annotation", f"{unquote(uri)}: {what}")

    def truth(self, uri: str) -> str | None:
        """``masks:`` or ``masks-binary:``, as ``data.mask_values`` says, and the uri of the folder."""
        rule = "masks" if self.spec.mask_values == "ids" else "masks-binary"
        found = next((c for c in candidates(uri) if holds_masks(path_of(self.root, c))), None)
        return None if found is None else f"{rule}:{found}"

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


def _strays(masks: list[bytes], rows: list[Row]) -> list[bytes]:
    """Folders of masks that are of no video; none where not one is of a video: that is another layout."""
    known = {folder for row in rows for folder in candidates(row["uri"])}
    strays = [folder for folder in masks if uri_from_path(folder) not in known]
    return strays if len(strays) < len(masks) else []
