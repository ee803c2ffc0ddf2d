"""``data.kind=davis``: the sequences of DAVIS-2016 or DAVIS-2017, with their masks.

The year decides the lists and how masks are read. ``data.year=auto`` goes by what lies under the root:

* ``ImageSets/2017`` or ``Annotations_unsupervised``: 2017. The 2017 package also ships ``ImageSets/2016``.
* ``ImageSets/480p`` (lists of image and mask paths), or ``ImageSets/2016`` without the former: 2016.
* signs of 2017 and ``ImageSets/480p`` together: both packages were unpacked here; the year has to be given.

Masks of 2017 come from ``Annotations_unsupervised/480p`` (``data.annotations=unsupervised``) or from
``Annotations/480p`` (``semi``: other objects, and fewer); ``auto`` takes the former where it has the
sequence, else the latter.
"""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path
from typing import Literal
from urllib.parse import unquote_to_bytes

import numpy as np

from stages.catalog.dataset import DataSet
from stages.catalog.errors import CatalogError
from stages.catalog.frames import folder_row
from stages.catalog.ids import path_of
from stages.catalog.masks import read_ids
from stages.catalog.splits import refuse_unknown, refuse_unscored, split_names
from stages.catalog.walk import check_root, unseen_row
from stages.outcome import MediaError
from stages.stage import Row

Year = Literal["2016", "2017"]

_LIST_FOLDERS: dict[Year, tuple[str, ...]] = {
    "2016": ("ImageSets/480p", "ImageSets/2016"),
    "2017": ("ImageSets/2017",),
}
_SEMI, _UNSUPERVISED = "Annotations/480p", "Annotations_unsupervised/480p"
_IMAGES = "JPEGImages/480p"


class DavisSet(DataSet):
    """The sequences that the lists of one year name, each a folder of images."""

    folders = True
    uses = ("fps", "year", "split", "scored", "annotations")

    def items(self) -> list[Row]:
        """See `DataSet.items`. A listed sequence whose folder is absent is an item that will be rejected.

        So is, where no list is chosen, a folder of masks of which there are neither frames nor a list.
        """
        check_root(self.root)
        names = self._sequences(self.spec.split, "data.split")
        for folder in (_IMAGES, *self._required_masks()):
            if not Path(self.root, folder).is_dir():
                raise CatalogError(
                    f"data.root={self.root} has no folder {folder}: unpack that part of DAVIS there"
                    + ("" if folder == _IMAGES else ", or set data.annotations=auto")
                )
        if self.spec.scored != "all":
            refuse_unscored(self.spec.scored, self.spec.split, len(self._scored & set(names)))
        rows = [folder_row(self.root, f"{_IMAGES}/".encode() + name) for name in names]
        return rows + [unseen_row(folder) for folder in self._orphans(set(names))]

    def prepare(self, uri: str) -> None:
        """Refuse masks without frames and a listed sequence without a folder; see `DataSet.prepare`.

        Raises:
            MediaError: ``annotation`` for the former, ``unreadable`` for the latter.
        """
        if not uri.startswith(f"{_IMAGES}/"):
            frames = f"{_IMAGES}/{uri.rpartition('/')[2]}"
            what = f"masks of frames that are not there: unpack {frames} or remove them"
            raise MediaError("annotation", f"{uri}: {what}")
        if Path(self.root).is_dir() and not os.path.lexists(path_of(self.root, uri)):
            what = "a list names this sequence and its folder is not there: unpack it or take it off the list"
            raise MediaError("unreadable", f"{uri}: {what}")

    def truth(self, uri: str) -> str | None:
        """``davis2016:`` or ``davis2017:`` and the uri of the sequence's folder of masks, if it has one.

        Where ``data.scored`` or ``data.annotations`` name what there has to be, a folder that is not there
        is named too, and scoring rejects the sequence.
        """
        name = uri.rsplit("/", 1)[-1]
        if self.spec.scored != "all" and unquote_to_bytes(name) not in self._scored:
            return None
        folders = [folder for folder in self._mask_folders() if Path(self.root, folder).is_dir()]
        there = [folder for folder in folders if Path(path_of(self.root, f"{folder}/{name}")).is_dir()]
        required = self.spec.scored != "all" or self.spec.annotations != "auto"
        chosen = there or (folders if required else [])
        return f"davis{self.year()}:{chosen[0]}/{name}" if chosen else None

    def year(self) -> Year:
        """The year as configured, or as the lists and folders under the root tell it.

        Raises:
            CatalogError: they tell nothing, or both.
        """
        if self.spec.year != "auto":
            return self.spec.year
        has = [
            name for name in ("ImageSets/2017", "Annotations_unsupervised") if Path(self.root, name).is_dir()
        ]
        if has and Path(self.root, "ImageSets/480p").is_dir():
            raise CatalogError(
                f"data.root={self.root} holds both DAVIS-2016 (ImageSets/480p) and DAVIS-2017 ({has[0]}): "
                "set data.year=2016 or data.year=2017"
            )
        if has:
            return "2017"
        if any(Path(self.root, name).is_dir() for name in _LIST_FOLDERS["2016"]):
            return "2016"
        raise CatalogError(
            f"data.root={self.root} is no DAVIS: "
            "ImageSets/480p, ImageSets/2016 and ImageSets/2017 are all missing"
        )

    def _mask_folders(self) -> tuple[str, ...]:
        """Where masks may lie, best first."""
        if self.year() == "2016" or self.spec.annotations == "semi":
            return (_SEMI,)
        return (_UNSUPERVISED,) if self.spec.annotations == "unsupervised" else (_UNSUPERVISED, _SEMI)

    def _required_masks(self) -> tuple[str, ...]:
        if self.year() == "2016" and self.spec.annotations == "unsupervised":
            raise CatalogError(
                f"data.root={self.root} is taken for DAVIS-2016, which has no unsupervised annotations: "
                "set data.year=2017 or data.annotations=auto"
            )
        return () if self.spec.annotations == "auto" else self._mask_folders()

    @cached_property
    def _scored(self) -> set[bytes]:
        return set(self._sequences(self.spec.scored, "data.scored"))

    def _orphans(self, listed: set[bytes]) -> list[bytes]:
        if split_names(self.spec.split) is not None:
            return []
        found = []
        for folder in self._mask_folders():
            for path in sorted(Path(self.root, folder).glob("[!.]*")):
                name = os.fsencode(path.name)
                if path.is_dir() and name not in listed and not Path(self.root, _IMAGES, path.name).is_dir():
                    found.append(folder.encode() + b"/" + name)
        return found

    def _sequences(self, chosen: str | None, setting: str) -> list[bytes]:
        """Names in the chosen lists of the year, in their order."""
        names: dict[bytes, None] = {}
        for path in self._lists(chosen, setting):
            for number, line in enumerate(path.read_bytes().splitlines(), start=1):
                if line.strip():
                    names[_sequence_name(line, f"{path}, line {number}")] = None
        if not names:
            raise CatalogError(f"the DAVIS lists under {self._list_folder()} name no sequence")
        return list(names)

    def _list_folder(self) -> Path:
        year = self.year()
        for folder in _LIST_FOLDERS[year]:
            if Path(self.root, folder).is_dir():
                return Path(self.root, folder)
        raise CatalogError(
            f"data.root={self.root} has no {' or '.join(_LIST_FOLDERS[year])} (data.year={year})"
        )

    def _lists(self, chosen: str | None, setting: str) -> list[Path]:
        folder = self._list_folder()
        found = sorted(p for p in folder.glob("*.txt") if not p.name.startswith("."))
        if not found:
            raise CatalogError(f"{folder} holds no list (*.txt)")
        wanted = split_names(chosen)
        if wanted is None:
            return found
        refuse_unknown(setting, wanted, [path.stem for path in found], str(folder))
        return [path for path in found if path.stem in wanted]


def _sequence_name(line: bytes, where: str) -> bytes:
    """The sequence that a line of either form names: ``bear``, or ``/JPEGImages/480p/bear/00000.jpg ...``."""
    first = line.split()[0]
    steps = first.strip(b"/").split(b"/")
    name = steps[-2] if len(steps) > 1 else steps[0]
    if name in (b"", b".", b".."):
        raise CatalogError(f"{where}: {first!r} names no sequence")
    return name


def read_mask(path: str | Path, year: Year) -> tuple[np.ndarray, np.ndarray]:
    """Read one mask: ``(ids, void)``, uint8 object ids (H, W) with 0 for background, and bool (H, W).

    2016: whatever is not 0 is the one object, 255 included, and nothing is void. 2017: the value is the
    object's id, and 255 is void (its id reads 0). Raises what `stages.catalog.masks.read_ids` raises.
    """
    return read_ids(path, str(path), binary=year == "2016")
