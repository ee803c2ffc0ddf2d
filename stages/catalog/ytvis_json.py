"""The JSON files of YouTube-VIS, read without holding them in memory.

A file of the real data set is some 100 MB, as Python objects it would be a gigabyte. So it is scanned once
per process: objects are parsed one by one and dropped, and what stays are the videos and where in the file
each annotation lies. The scan needs memory for the file's own size, the index then some 200 bytes per
annotation and a few kB per video; a video's annotations are parsed when they are asked for.
"""

from __future__ import annotations

import json
import mmap
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

_DECODER = json.JSONDecoder()
_SPACE = re.compile(r"[ \t\r\n]*")


class JsonFaultError(ValueError):
    """The file is not what it should be; one sentence that begins with the file's name."""


@dataclass(frozen=True)
class VideoEntry:
    """One entry of ``videos``.

    Attributes:
        number: its ``id``.
        name: the folder its frames lie in, below ``JPEGImages``.
        files: names of its frames in that folder, in order.
        size: (height, width) in pixels.
    """

    number: int
    name: str
    files: tuple[str, ...]
    size: tuple[int, int]


@dataclass(frozen=True)
class JsonIndex:
    """What a file holds.

    Attributes:
        path: of the file.
        name: what it is called in messages.
        videos: in the order of the file.
        categories: names by id; empty where the file lists none.
        spans: by video id: ``(annotation id, first byte, end)`` of its annotations, sorted by their ids.
    """

    path: str
    name: str
    videos: tuple[VideoEntry, ...]
    categories: Mapping[int, str]
    spans: Mapping[int, tuple[tuple[int, int, int], ...]]

    def video(self, number: int) -> VideoEntry:
        """The video with that id.

        Raises:
            JsonFaultError: there is none.
        """
        for entry in self.videos:
            if entry.number == number:
                return entry
        raise JsonFaultError(f"{self.name}: videos has no video {number}: catalogue the data set again")

    def annotations(self, number: int) -> list[dict[str, Any]]:
        """The annotations of the video with that id, sorted by their ids.

        Raises:
            OSError: the file can't be read.
            JsonFaultError: it is another file than was scanned.
        """
        found = []
        with Path(self.path).open("rb") as file:
            for _, start, end in self.spans.get(number, ()):
                file.seek(start)
                try:
                    found.append(json.loads(file.read(end - start)))
                except ValueError as error:
                    raise JsonFaultError(f"{self.name}: has changed while it was read: run again") from error
        return found

    def orphans(self) -> list[int]:
        """Ids of videos that annotations speak of and ``videos`` does not list."""
        return sorted(self.spans.keys() - {entry.number for entry in self.videos})


def read_index(path: str, name: str) -> JsonIndex:
    """The index of the file ``path``; scanned once per process as long as size and time stay the same.

    Raises:
        OSError: it can't be read.
        JsonFaultError: it is no JSON, or a key is missing; ``name`` and the key are named.
    """
    found = Path(path).stat()
    return _scanned(path, name, found.st_size, found.st_mtime_ns)


@lru_cache(maxsize=4)
def _scanned(path: str, name: str, size: int, mtime: int) -> JsonIndex:
    scan = _Scan(_text(path), name)
    videos: list[VideoEntry] = []
    categories: dict[int, str] = {}
    spans: dict[int, list[tuple[int, int, int]]] = {}
    seen = set()
    for key in scan.members():
        seen.add(key)
        if key == "videos":
            videos = [_video(scan.text[a:b], name, n) for n, (_, a, b) in enumerate(scan.elements(key))]
        elif key == "categories":
            for number, (value, _, _) in enumerate(scan.elements(key)):
                text = need(value, "name", f"categories[{number}]", name)
                categories[_integer(value, "id", number, name, "categories")] = str(text)
        elif key == "annotations":
            for number, (value, start, end) in enumerate(scan.elements(key)):
                span = _integer(value, "id", number, name), start, end
                spans.setdefault(_integer(value, "video_id", number, name), []).append(span)
        else:
            scan.value()
    if "videos" not in seen:
        raise JsonFaultError(f"{name}: has no key 'videos': is this the file of YouTube-VIS?")
    sorted_spans = {k: tuple(sorted(v)) for k, v in spans.items()}
    return JsonIndex(path, name, _distinct(videos, name), categories, sorted_spans)


def _text(path: str) -> str:
    """The file with one character per byte: positions in the text are positions in the file."""
    with Path(path).open("rb") as file:
        if not os.fstat(file.fileno()).st_size:
            return ""
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return str(content, "latin-1")


class _Scan:
    """A place in a JSON text, and steps from there."""

    def __init__(self, text: str, name: str) -> None:
        self.text, self.name, self.at = text, name, 0

    def members(self) -> Iterator[str]:
        """The keys of the object here; whoever takes one steps over its value before the next."""
        self._expect("{")
        while not self._have("}"):
            key = self.value()
            self._expect(":")
            yield key
            if not self._have(","):
                self._expect("}")
                return

    def elements(self, key: str) -> Iterator[tuple[Any, int, int]]:
        """The elements of the list here with their first byte and end; of null none."""
        self._skip()
        if self.text.startswith("null", self.at):
            self.at += 4
            return
        if not self.text.startswith("[", self.at):
            raise JsonFaultError(f"{self.name}: {key!r} is no list: download it again")
        self._expect("[")
        while not self._have("]"):
            self._skip()
            start = self.at
            yield self.value(), start, self.at
            if not self._have(","):
                self._expect("]")
                return

    def value(self) -> Any:
        """The value here."""
        self._skip()
        try:
            found, self.at = _DECODER.raw_decode(self.text, self.at)
        except ValueError as error:
            raise self._broken() from error
        return found

    def _skip(self) -> None:
        space = _SPACE.match(self.text, self.at)
        self.at = self.at if space is None else space.end()

    def _have(self, character: str) -> bool:
        self._skip()
        if not self.text.startswith(character, self.at):
            return False
        self.at += 1
        return True

    def _expect(self, character: str) -> None:
        if not self._have(character):
            raise self._broken()

    def _broken(self) -> JsonFaultError:
        return JsonFaultError(f"{self.name}: is no JSON from byte {self.at} on: download it again")


def need(value: Any, key: str, what: str, name: str) -> Any:
    """``value[key]``.

    Raises:
        JsonFaultError: ``what`` (such as ``annotation 7``) of the file ``name`` has no such key.
    """
    if not isinstance(value, Mapping) or key not in value:
        raise JsonFaultError(f"{name}: {what} has no key {key!r}: download the file again or complete it")
    return value[key]


def _integer(value: Any, key: str, position: int, name: str, what: str = "annotations") -> int:
    found = need(value, key, f"{what}[{position}]", name)
    if not isinstance(found, int):
        raise JsonFaultError(f"{name}: {what}[{position}] has {key!r}={found!r}, which is no whole number")
    return found


def _video(text: str, name: str, position: int) -> VideoEntry:
    value = json.loads(text.encode("latin-1"))
    what = f"videos[{position}]"
    number, height, width = (
        _integer(value, key, position, name, "videos") for key in ("id", "height", "width")
    )
    files = need(value, "file_names", what, name)
    if not isinstance(files, list) or not files or not all(isinstance(file, str) for file in files):
        raise JsonFaultError(f"{name}: {what} has no list of names in 'file_names': it can't be found")
    folders = {file.rpartition("/")[0] for file in files}
    folder = folders.pop()
    if folders or not folder or any(step in ("", ".", "..") for step in folder.split("/")):
        raise JsonFaultError(f"{name}: {what}: its 'file_names' are not <video>/<frame> of one video")
    return VideoEntry(number, folder, tuple(file.rpartition("/")[2] for file in files), (height, width))


def _distinct(videos: list[VideoEntry], name: str) -> tuple[VideoEntry, ...]:
    for key in ("number", "name"):
        values = [getattr(entry, key) for entry in videos]
        twice = (
            next((value for value in values if values.count(value) > 1), None) if _repeats(values) else None
        )
        if twice is not None:
            raise JsonFaultError(f"{name}: videos lists {twice} twice: download the file again")
    return tuple(videos)


def _repeats(values: list[Any]) -> bool:
    return len(set(values)) < len(values)
