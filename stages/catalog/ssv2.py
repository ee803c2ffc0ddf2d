"""``data.kind=ssv2``: Something-Something-v2, or any videos that lists name.

A list is the JSON of the data set (``[{"id": "78687", ...}, ...]``) or a text with ``<path> <label>`` on
every line, as VideoMAE takes it. The list of a split lies at the root, in ``labels/`` or in ``annotations/``.
Labels are not read: these videos are trained on without them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote

from stages.catalog.dataset import DataSet
from stages.catalog.errors import CatalogError
from stages.catalog.ids import path_of
from stages.catalog.splits import refuse_unknown, split_names
from stages.catalog.suffixes import kind_of
from stages.catalog.walk import Visit, check_root, file_row, unseen_row, walk
from stages.outcome import MediaError
from stages.stage import Row

SPLITS = {"train": ("train",), "validation": ("validation", "val"), "test": ("test",)}
"""The splits, and what their lists are called."""

_FOLDERS = ("", "labels/", "annotations/")
_FORMS = ("something-something-v2-{0}.json", "{0}.json", "{0}.csv", "{0}.txt")
_SUFFIX = ".webm"


class Ssv2Set(DataSet):
    """The videos that the lists of ``data.split`` name; without any named split those of all lists there are.

    A name is looked for as a path from the root, then, suffix and folders aside, as a file anywhere below it:
    so a list holds for videos that were moved or transcoded. Videos that no list names are left out.
    """

    uses = ("split",)

    def items(self) -> list[Row]:
        """See `DataSet.items`; this one opens the lists. A video that is not there will be rejected."""
        check_root(self.root)
        rows: dict[str, Row] = {}
        lists = self._lists()
        for name in lists:
            for where, entry in _entries(self.root, name):
                row = self._row(where, entry)
                rows[row["uri"]] = row
        if not rows:
            raise CatalogError(
                f"data.root={self.root}: {', '.join(lists)} name no video: download them again"
            )
        return list(rows.values())

    def prepare(self, uri: str) -> None:
        """Refuse a video that a list names and that is not there; see `DataSet.prepare`.

        Raises:
            MediaError: ``unreadable``.
        """
        if Path(self.root).is_dir() and not os.path.lexists(path_of(self.root, uri)):
            what = "a list names this video and it is not there: unpack it or take it off the list"
            raise MediaError("unreadable", f"{unquote(uri)}: {what}")

    def _lists(self) -> list[str]:
        """Paths below the root of the wanted lists."""
        names = split_names(self.spec.split)
        refuse_unknown("data.split", names or [], list(SPLITS), "data.kind=ssv2")
        found = {split: self._find_list(split) for split in SPLITS if names is None or split in names}
        missing = [split for split, name in found.items() if name is None]
        if missing and (names is not None or len(missing) == len(SPLITS)):
            looked = ", ".join(_candidates(missing[0]))
            raise CatalogError(
                f"data.root={self.root} has no list of the split {missing[0]} (looked for {looked}): put it "
                "there, or name other splits in data.split; without lists data.kind=folder will do"
            )
        return [name for name in found.values() if name is not None]

    def _find_list(self, split: str) -> str | None:
        return next((name for name in _candidates(split) if Path(self.root, name).is_file()), None)

    def _row(self, where: str, entry: str) -> Row:
        relative = os.path.relpath(entry, self.root) if entry.startswith("/") else os.path.normpath(entry)
        outside = relative.startswith("..")
        if not outside and (row := self._exact.get(os.fsencode(relative))) is not None:
            return row
        same = self._by_id.get(os.fsencode(PurePosixPath(relative).stem), [])
        if len(same) > 1:
            first, second = (unquote(row["uri"]) for row in same[:2])
            raise CatalogError(
                f"{where} under data.root={self.root} names {entry!r}, which may be {first} or {second}: "
                "name one of them with its folder, or remove the other"
            )
        if same:
            return same[0]
        name = PurePosixPath(relative).name if outside else relative
        if not PurePosixPath(name).suffix:
            name = f"{self._folder}{name}{_SUFFIX}"
        return unseen_row(os.fsencode(name))

    @cached_property
    def _exact(self) -> dict[bytes, Row]:
        """Rows of all video files below the root by their paths."""
        found: dict[bytes, Row] = {}
        for visit in walk(self.root):
            if isinstance(visit, Visit):
                prefix = visit.relative + b"/" if visit.relative else b""
                videos = (entry for entry in visit.files if kind_of(entry.name) == "video")
                found |= {prefix + entry.name: file_row(prefix + entry.name, entry) for entry in videos}
        return found

    @cached_property
    def _by_id(self) -> dict[bytes, list[Row]]:
        found: dict[bytes, list[Row]] = {}
        for path, row in self._exact.items():
            found.setdefault(path.rpartition(b"/")[2].rpartition(b".")[0], []).append(row)
        return found

    @cached_property
    def _folder(self) -> str:
        """Where videos lie, so that one that is missing is looked for beside the others."""
        first = min(self._exact, default=b"")
        return os.fsdecode(first.rpartition(b"/")[0] + b"/") if b"/" in first else ""


def _candidates(split: str) -> list[str]:
    return [folder + form.format(name) for name in SPLITS[split] for folder in _FOLDERS for form in _FORMS]


def _entries(root: str, name: str) -> Iterator[tuple[str, str]]:
    """What a list names, a path or an id, each with where it says so."""
    try:
        text = Path(root, name).read_text("utf-8", errors="surrogateescape")
    except OSError as error:
        raise CatalogError(f"{name} under data.root={root} can't be read: {error.strerror}") from error
    if name.endswith(".json"):
        for number, entry in enumerate(_json(text, root, name)):
            found = entry.get("id") if isinstance(entry, dict) else None
            if not isinstance(found, str | int) or not str(found).strip():
                what = f"entry {number} has no 'id': download the list again"
                raise CatalogError(f"{name} under data.root={root}: {what}")
            yield f"{name}, entry {number},", str(found)
        return
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        parts = line.strip().rsplit(maxsplit=1)
        if len(parts) < 2:
            what = f"line {number} is {line.strip()!r} and not '<path> <label>': correct it"
            raise CatalogError(f"{name} under data.root={root}: {what}")
        yield f"{name}, line {number},", parts[0]


def _json(text: str, root: str, name: str) -> list[Any]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise CatalogError(
            f"{name} under data.root={root} is no JSON ({error}): download it again"
        ) from error
    if not isinstance(found, list):
        raise CatalogError(f"{name} under data.root={root} is no list of videos: is it the list of a split?")
    return found
