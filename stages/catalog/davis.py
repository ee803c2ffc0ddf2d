"""``data.kind=davis``: the sequences of DAVIS-2016 or DAVIS-2017, with their masks.

The year decides the lists and how masks are read. ``data.year=auto`` goes by what lies under the root:

* ``ImageSets/2017`` or ``Annotations_unsupervised``: 2017. The 2017 package also ships ``ImageSets/2016``.
* ``ImageSets/480p`` (lists of image and mask paths), or ``ImageSets/2016`` without the former: 2016.
* signs of 2017 and ``ImageSets/480p`` together: both packages were unpacked here; the year has to be given.

Masks of 2017 come from ``Annotations_unsupervised/480p`` where that has the sequence, else from
``Annotations/480p``.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import numpy as np

from stages.catalog.dataset import DataSet
from stages.catalog.errors import CatalogError
from stages.catalog.frames import images_row
from stages.catalog.ids import path_of
from stages.catalog.suffixes import FRAME, suffix_of
from stages.catalog.walk import check_root, folder_mtime, unseen_row
from stages.sprites.palette import mask_palette
from stages.stage import Row

Year = Literal["2016", "2017"]

_LIST_FOLDERS: dict[Year, tuple[str, ...]] = {
    "2016": ("ImageSets/480p", "ImageSets/2016"),
    "2017": ("ImageSets/2017",),
}
_MASK_FOLDERS: dict[Year, tuple[str, ...]] = {
    "2016": ("Annotations/480p",),
    "2017": ("Annotations_unsupervised/480p", "Annotations/480p"),
}
_IMAGES = b"JPEGImages/480p"


class DavisSet(DataSet):
    """The sequences that the lists of one year name, each a folder of images."""

    folders = True
    uses = ("fps", "year", "split")

    def items(self) -> list[Row]:
        """See `DataSet.items`. A listed sequence whose folder is absent is an item that will be rejected."""
        check_root(self.root)
        return [_sequence_row(self.root, _IMAGES + b"/" + name) for name in self._sequences()]

    def truth(self, uri: str) -> str | None:
        """``davis2016:`` or ``davis2017:`` and the uri of the sequence's folder of masks, if it has one."""
        year = self.year()
        name = uri.rsplit("/", 1)[-1]
        for folder in _MASK_FOLDERS[year]:
            if Path(path_of(self.root, f"{folder}/{name}")).is_dir():
                return f"davis{year}:{folder}/{name}"
        return None

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

    def _sequences(self) -> list[bytes]:
        names: dict[bytes, None] = {}
        for path in self._lists():
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

    def _lists(self) -> list[Path]:
        folder = self._list_folder()
        found = sorted(p for p in folder.glob("*.txt") if not p.name.startswith("."))
        if not found:
            raise CatalogError(f"{folder} holds no list (*.txt)")
        if self.spec.split in (None, "all"):
            return found
        chosen = [path for path in found if path.stem == self.spec.split]
        if not chosen:
            names = ", ".join(path.stem for path in found)
            raise CatalogError(f"{folder} has no list for data.split={self.spec.split}; it has {names}, all")
        return chosen


def _sequence_name(line: bytes, where: str) -> bytes:
    """The sequence that a line of either form names: ``bear``, or ``/JPEGImages/480p/bear/00000.jpg ...``."""
    first = line.split()[0]
    steps = first.strip(b"/").split(b"/")
    name = steps[-2] if len(steps) > 1 else steps[0]
    if name in (b"", b".", b".."):
        raise CatalogError(f"{where}: {first!r} names no sequence")
    return name


def _sequence_row(root: str, relative: bytes) -> Row:
    path = os.path.join(os.fsencode(root), relative)  # noqa: PTH118 - bytes
    try:
        with os.scandir(path) as entries:
            images = [e for e in entries if suffix_of(e.name) in FRAME and not e.name.startswith(b".")]
        return images_row(relative, images, folder_mtime(path))
    except OSError:
        return unseen_row(relative)


def read_mask(path: str | Path, year: Year) -> tuple[np.ndarray, np.ndarray]:
    """Read one mask: ``(ids, void)``, uint8 object ids (H, W) with 0 for background, and bool (H, W).

    2016: whatever is not 0 is the one object, 255 included, and nothing is void. 2017: the value is the
    object's id, and 255 is void (its id reads 0). Indexed, grey (with or without alpha), bilevel and RGB
    files are read; colours of an RGB file are looked up in the data set's palette.

    Raises:
        OSError: the file is missing or no image.
        ValueError: an RGB file has a colour that is not in the palette, or the file's mode holds no mask.
    """
    values = _mask_values(Path(path), year)
    if year == "2016":
        return (values > 0).astype(np.uint8), np.zeros(values.shape, bool)
    void = values == 255
    return np.where(void, np.uint8(0), values), void


def _mask_values(path: Path, year: Year) -> np.ndarray:
    from PIL import Image

    with Image.open(path) as image:
        if image.mode in ("P", "L", "1"):
            return np.asarray(image, dtype=np.uint8)
        if image.mode in ("PA", "LA"):
            return np.asarray(image, dtype=np.uint8)[..., 0]
        if image.mode in ("RGB", "RGBA"):
            colours = np.asarray(image.convert("RGB"))
            return colours.max(axis=2) if year == "2016" else _indices(colours, path)
        raise ValueError(f"{path}: a mask can't have the mode {image.mode}")


def _indices(colours: np.ndarray, path: Path) -> np.ndarray:
    code = (colours.astype(np.int64) * (65536, 256, 1)).sum(axis=2)
    table = {int(c): i for i, c in enumerate((mask_palette().astype(np.int64) * (65536, 256, 1)).sum(axis=1))}
    found, inverse = np.unique(code, return_inverse=True)
    unknown = [f"#{c:06x}" for c in found.tolist() if c not in table]
    if unknown:
        raise ValueError(f"{path}: {', '.join(unknown[:3])} is no colour of the DAVIS palette")
    return np.array([table[c] for c in found.tolist()], np.uint8)[inverse].reshape(code.shape)
