"""Reading ground truth as boxes: classes and corners of every wanted frame, from boxes or from masks.

=================== =================================================================================
rule                boxes
=================== =================================================================================
``imagenet_vid``    of the XML files in a folder, called like the frames; 30 classes
``ytvis``           of the masks in the JSON, or its ``bboxes`` where it has no masks; 40 classes
``sprites``         of the masks; the class of an object is its colour, 17 of them
any other of masks  of the masks, without classes
=================== =================================================================================

``ytvis-png`` is one of the others: its masks are numbered, but nothing says of which annotations they are.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np

from stages.catalog import ytvis_truth
from stages.catalog.box_xml import XmlBoxes, XmlFaultError, parse_boxes
from stages.catalog.classes import IMAGENET_VID, class_index, class_names
from stages.catalog.ids import path_of
from stages.catalog.masks import mask_box
from stages.catalog.table import split_truth
from stages.catalog.truth import Size, frame_names, frame_size, read_truth
from stages.outcome import MediaError
from stages.sprites.files import objects_beside

NO_CLASS = -1
"""The class of boxes from ground truth that names none."""


@dataclass(frozen=True)
class FrameBoxes:
    """The n objects of one frame; n may be 0.

    Attributes:
        boxes: float64 (n, 4): first column, first row, last column, last row, in pixels of the upright source
            frame counted from 0. The last ones are part of the object: a pixel alone has x1 = x2.
        classes: int64 (n,), indices into `BoxTruth.names`, or `NO_CLASS`.
        tracks: int64 (n,), the same number for the same object in all frames of a video; -1 where unknown.
        words: words that are right for each object (``sprites``: its colour and its shape); empty where
            ground truth knows none.
    """

    boxes: np.ndarray
    classes: np.ndarray
    tracks: np.ndarray
    words: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True)
class BoxTruth:
    """Annotation of T frames.

    Attributes:
        frames: the boxes of each.
        names: what the classes are called; empty where the ground truth names none.
        unknown: classes that are not among ``names``, each with the number of boxes left out for it.
    """

    frames: tuple[FrameBoxes, ...]
    names: tuple[str, ...]
    unknown: Mapping[str, int]


def read_boxes(root: str, row: Mapping[str, Any], frames: Sequence[int]) -> BoxTruth:
    """The ground truth of a video's frames as boxes, upright and in their pixels.

    Args:
        root: the data root.
        row: of the catalog, with ground truth.
        frames: indices of the T wanted frames in the source, from its first and not its segment's first.

    Raises:
        MediaError: ``annotation``: a file, a frame or a key is missing, broken, of another size than the
            frames, or belongs to no frame; the message names it and says what to do.
    """
    rule, uri = split_truth(row["truth"])
    wanted = [int(frame) for frame in frames]
    if rule == "imagenet_vid":
        return _imagenet_vid(root, row, uri, wanted)
    if rule == "ytvis":
        return _ytvis(root, row, uri, wanted)
    of_masks = tuple(_of_masks(ids) for ids in read_truth(root, row, wanted).ids)
    return _sprites(root, uri, of_masks) if rule == "sprites" else BoxTruth(of_masks, (), {})


def _frame(found: Sequence[tuple[Sequence[float], int, int]]) -> FrameBoxes:
    """One frame from (box, class, track) of its objects."""
    return FrameBoxes(
        np.array([box for box, _, _ in found], np.float64).reshape(-1, 4),
        np.array([number for _, number, _ in found], np.int64),
        np.array([track for _, _, track in found], np.int64),
    )


def _of_masks(ids: np.ndarray) -> FrameBoxes:
    """The boxes of one id map (H, W), sorted by id."""
    numbers = [int(number) for number in np.unique(ids) if number]
    boxes = [mask_box(ids == number) for number in numbers]
    return _frame([(box, NO_CLASS, n) for box, n in zip(boxes, numbers, strict=True) if box is not None])


def _sprites(root: str, uri: str, frames: Sequence[FrameBoxes]) -> BoxTruth:
    """Boxes of sprites with what their objects are called, which a file beside the masks says."""
    names, file = class_names("sprites"), objects_beside(uri)
    try:
        objects = json.loads(Path(path_of(root, file)).read_text(encoding="utf-8"))["objects"]
        about = {thing["id"]: (names.index(thing["colour"]), thing["shape"]) for thing in objects}
        called = [[about[track] for track in frame.tracks.tolist()] for frame in frames]
    except (OSError, ValueError, KeyError, TypeError) as error:
        what = "the names of the clip's objects can't be read: put the file back"
        raise MediaError("annotation", f"{unquote(file)}: {what}") from error
    named = [
        replace(
            frame,
            classes=np.array([number for number, _ in words], np.int64),
            words=tuple((names[number], shape) for number, shape in words),
        )
        for frame, words in zip(frames, called, strict=True)
    ]
    return BoxTruth(tuple(named), names, {})


def _ytvis(root: str, row: Mapping[str, Any], uri: str, frames: Sequence[int]) -> BoxTruth:
    names = class_names("ytvis")
    wanted, has = frame_names(root, row, frames)
    found: list[list[tuple[Sequence[float], int, int]]] = [[] for _ in frames]
    unknown: Counter[str] = Counter()
    for track in ytvis_truth.read_tracks(root, uri, wanted, frame_size(row), has):
        seen = np.flatnonzero(np.isfinite(track.boxes[:, 0])).tolist()
        number = class_index(track.category, names)
        if number is None:
            unknown[track.category] += len(seen)
            continue
        for t in seen:
            found[t].append((track.boxes[t], number, track.number))
    return BoxTruth(tuple(_frame(boxes) for boxes in found), names, dict(unknown))


def _imagenet_vid(root: str, row: Mapping[str, Any], uri: str, frames: Sequence[int]) -> BoxTruth:
    names = class_names("imagenet_vid")
    classes = {wordnet: number for number, wordnet in enumerate(IMAGENET_VID)}
    wanted, has = frame_names(root, row, frames)
    _refuse_strays(root, uri, has)
    found = []
    unknown: Counter[str] = Counter()
    for frame, name in zip(frames, wanted, strict=True):
        xml = _read_xml(root, row, uri, f"{Path(name).stem}.xml", frame)
        unknown.update(o.name for o in xml.objects if o.name not in classes)
        known = [o for o in xml.objects if o.name in classes]
        found.append(_frame([(_clamped(o.box, xml.size), classes[o.name], o.track) for o in known]))
    return BoxTruth(tuple(found), names, dict(unknown))


def _refuse_strays(root: str, uri: str, images: Sequence[str]) -> None:
    """A file of boxes that is called like no frame."""
    stems = {Path(name).stem for name in images}
    try:
        files = sorted(path.stem for path in Path(path_of(root, uri)).iterdir() if path.suffix == ".xml")
    except OSError as error:
        what = "the folder of boxes can't be read: unpack it, or leave the video out"
        raise MediaError("annotation", f"{unquote(uri)}: {what}") from error
    strays = [stem for stem in files if stem not in stems]
    if strays:
        what = "holds the boxes of a frame that is not there: put the frame back or remove the file"
        raise MediaError("annotation", f"{unquote(uri)}/{strays[0]}.xml: {what}")


def _read_xml(root: str, row: Mapping[str, Any], uri: str, name: str, frame: int) -> XmlBoxes:
    shown, size = f"{unquote(uri)}/{name}", frame_size(row)
    try:
        found = parse_boxes(Path(path_of(root, uri), name).read_bytes())
    except FileNotFoundError as error:
        what = f"is missing, the boxes of frame {frame}: add it, or leave the video out"
        raise MediaError("annotation", f"{shown}: {what}") from error
    except OSError as error:
        raise MediaError("annotation", f"{shown}: can't be read ({error.strerror}): put it back") from error
    except XmlFaultError as error:
        raise MediaError("annotation", f"{shown}: {error}") from error
    if found.size != size:
        sizes = (
            f"is of a frame of {found.size[0]} x {found.size[1]} pixels, those of {unquote(row['uri'])} have"
        )
        raise MediaError(
            "annotation", f"{shown}: {sizes} {size[0]} x {size[1]} (height x width): copy the one that fits"
        )
    return found


def _clamped(box: Sequence[float], size: Size) -> list[float]:
    """A box with its corners moved into a picture of ``size`` (height, width)."""
    most = (size[1] - 1, size[0] - 1) * 2
    return [min(max(side, 0.0), float(last)) for side, last in zip(box, most, strict=True)]
