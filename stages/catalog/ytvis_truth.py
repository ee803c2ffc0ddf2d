"""Ground truth in the JSON files of YouTube-VIS: the masks of a video as id maps, or its objects as boxes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import numpy as np

from stages.catalog.ids import path_of
from stages.catalog.masks import mask_box
from stages.catalog.rle import decode_mask
from stages.catalog.ytvis_json import JsonFaultError, VideoEntry, need, read_index
from stages.outcome import MediaError


def read_ids(
    root: str, uri: str, frames: Sequence[str], size: tuple[int, int], has: Sequence[str]
) -> np.ndarray:
    """The id maps of a video: uint16 (T, H, W); n for the n-th of its annotations sorted by id, 0 for none.

    Where objects overlap the later annotation counts.

    Args:
        uri: ``<json>#<video id>``.
        frames: names of the T wanted frames.
        size: (H, W) of the frames in pixels.
        has: names of all frames of the video.

    Raises:
        MediaError: ``annotation``: the file, a frame or a key is missing, or masks don't fit the frames.
    """
    ids = np.zeros((len(frames), *size), np.uint16)
    with _opened(root, uri, frames, size, has) as video:
        for order, annotation in enumerate(video.annotations, start=1):
            for t, mask in video.masks(annotation):
                ids[t][mask] = order
    return ids


@dataclass(frozen=True)
class Track:
    """One object of a video.

    Attributes:
        number: id of its annotation.
        category: name of its category; its id where the file has no names.
        boxes: float64 (T, 4), first and last column and row it covers, as (x, y, x, y) in pixels from 0; NaN
            in frames where it is not seen.
    """

    number: int
    category: str
    boxes: np.ndarray


def read_tracks(
    root: str, uri: str, frames: Sequence[str], size: tuple[int, int], has: Sequence[str]
) -> list[Track]:
    """The objects of a video, in the order of their annotations' ids; arguments and errors of `read_ids`.

    Boxes are those of whole masks; an annotation without ``segmentations`` needs ``bboxes`` (x, y, width,
    height).
    """
    tracks = []
    with _opened(root, uri, frames, size, has) as video:
        for annotation in video.annotations:
            boxes = np.full((len(frames), 4), np.nan)
            if annotation.get("segmentations") is None and annotation.get("bboxes") is not None:
                for t, (x, y, width, height) in video.boxes(annotation):
                    boxes[t] = x, y, max(x, x + width - 1), max(y, y + height - 1)
            else:
                for t, mask in video.masks(annotation):
                    boxes[t] = mask_box(mask) or np.nan
            what = f"annotation {annotation['id']}"
            category = need(annotation, "category_id", what, video.name)
            tracks.append(Track(annotation["id"], video.categories.get(category, str(category)), boxes))
    return tracks


@dataclass(frozen=True)
class _Video:
    """A video's annotations, sorted by their ids, and where in their lists the T wanted frames are."""

    name: str
    entry: VideoEntry
    size: tuple[int, int]
    places: Sequence[int]
    annotations: Sequence[Mapping[str, Any]]
    categories: Mapping[int, str]

    def masks(self, annotation: Mapping[str, Any]) -> Iterator[tuple[int, np.ndarray]]:
        """``(t, mask)`` of the frames that show the object: t in 0..T-1, bool (H, W)."""
        for t, k, value in self._shown(annotation, "segmentations"):
            try:
                yield t, decode_mask(value, self.size)
            except ValueError as error:
                raise JsonFaultError(
                    f"{self._where(annotation, k)}: {error}: correct it or take it out"
                ) from error

    def boxes(self, annotation: Mapping[str, Any]) -> Iterator[tuple[int, list[float]]]:
        """``(t, [x, y, width, height])`` of the frames that show the object."""
        for t, k, value in self._shown(annotation, "bboxes"):
            if not _is_box(value):
                what = f"{value!r} is no box of x, y, width and height: correct it or take it out"
                raise JsonFaultError(f"{self._where(annotation, k)}: {what}")
            yield t, value

    def _shown(self, annotation: Mapping[str, Any], key: str) -> Iterator[tuple[int, int, Any]]:
        what = f"annotation {annotation['id']}"
        values = need(annotation, key, what, self.name)
        if not isinstance(values, list) or len(values) != len(self.entry.files):
            count = len(values) if isinstance(values, list) else "no"
            raise JsonFaultError(
                f"{self.name}: {what} has {count} {key} for the {len(self.entry.files)} frames of "
                f"{self.entry.name}: download the file again or complete it"
            )
        return ((t, k, values[k]) for t, k in enumerate(self.places) if values[k] is not None)

    def _where(self, annotation: Mapping[str, Any], k: int) -> str:
        return f"{self.name}: annotation {annotation['id']}, frame {self.entry.name}/{self.entry.files[k]}"


@contextmanager
def _opened(
    root: str, uri: str, frames: Sequence[str], size: tuple[int, int], has: Sequence[str]
) -> Iterator[_Video]:
    """The annotations of ``<json>#<video id>``; faults met while they are read become a `MediaError`."""
    json_uri, _, number = uri.rpartition("#")
    name = unquote(json_uri)
    try:
        index = read_index(path_of(root, json_uri), name)
        entry = index.video(int(number))
        annotations = index.annotations(int(number))
        places = _places(entry, frames, has, name)
        _refuse_size(entry, size, name)
        yield _Video(name, entry, size, places, annotations, index.categories)
    except OSError as error:
        what = f"can't be read ({error.strerror}), and it holds the ground truth"
        raise MediaError("annotation", f"{name}: {what}: put it back") from error
    except JsonFaultError as error:
        raise MediaError("annotation", str(error)) from error


def _is_box(value: Any) -> bool:
    if not isinstance(value, list) or len(value) != 4 or not all(isinstance(v, int | float) for v in value):
        return False
    return bool(np.isfinite(value).all()) and min(value[2:]) > 0


def _refuse_size(entry: VideoEntry, size: tuple[int, int], name: str) -> None:
    """Polygons have no size of their own: only the video's entry tells which pixels they mean."""
    if entry.size != size:
        what = f"video {entry.number} has {entry.size[0]} x {entry.size[1]} pixels"
        raise JsonFaultError(
            f"{name}: {what}, the frames of {entry.name} {size[0]} x {size[1]} (height x width): "
            "unpack the frames that belong to the file"
        )


def _places(entry: VideoEntry, frames: Sequence[str], has: Sequence[str], name: str) -> list[int]:
    """Where in the lists of the JSON each of ``frames`` is."""
    place = {file: k for k, file in enumerate(entry.files)}
    gone = [file for file in entry.files if file not in set(has)]
    new = [file for file in has if file not in place]
    if gone:
        what = f"video {entry.number} has the frame {entry.name}/{gone[0]}, which is not in its folder"
        raise JsonFaultError(f"{name}: {what}: unpack the frames again")
    if new:
        what = f"video {entry.number} has no annotation for the frame {entry.name}/{new[0]}"
        raise JsonFaultError(f"{name}: {what}: take the frame out or complete the file")
    return [place[file] for file in frames]
