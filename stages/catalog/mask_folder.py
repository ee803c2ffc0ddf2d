"""Folders of masks: which file belongs to which frame, and where such a folder lies beside a video."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote

from stages.catalog.ids import path_of
from stages.decode.image_files import list_images
from stages.outcome import MediaError

FOLDER = "Annotations"


def candidates(video: str) -> Iterator[str]:
    """Where the masks of the video file with the uri ``video`` may lie, as uris, best first."""
    folder, _, name = video.rpartition("/")
    stem = name.rpartition(".")[0] or name
    inside = f"{folder}/" if folder else ""
    yield f"{FOLDER}/{inside}{stem}"
    if folder:
        yield f"{inside}{FOLDER}/{stem}"
    yield f"{FOLDER}/480p/{stem}"


def holds_masks(path: str | Path) -> bool:
    """Whether ``path`` is a folder with a PNG directly in it."""
    try:
        with os.scandir(path) as entries:
            return any(_is_mask(entry.name) for entry in entries)
    except OSError:
        return False


def masks_by_name(root: str, uri: str, images: Sequence[str], frames: Sequence[int]) -> list[str]:
    """Names of the masks in the folder ``uri`` that are called like the images ``frames``.

    Args:
        images: names of all images of the video, in order.
        frames: indices into them.

    Raises:
        MediaError: ``annotation``: a mask is missing, or is of no image.
    """
    masks = {Path(name).stem: name for name in _list(root, uri)}
    stems = [Path(name).stem for name in images]
    strays = sorted(masks.keys() - set(stems))
    if strays:
        what = "is the mask of a frame that is not there: put the frame back or remove the mask"
        raise MediaError("annotation", f"{unquote(uri)}/{masks[strays[0]]}: {what}")
    for frame in frames:
        if frame >= len(stems):
            what = f"frame {frame} is not there any more, the video has {len(stems)}: run again"
            raise MediaError("annotation", f"{unquote(uri)}: {what}")
        if stems[frame] not in masks:
            raise _missing(f"{unquote(uri)}/{stems[frame]}.png", frame)
    return [masks[stems[frame]] for frame in frames]


def masks_by_order(root: str, uri: str, frames: Sequence[int], count: int | None) -> list[str]:
    """Names of the masks in the folder ``uri`` at the places ``frames``, counted in natural order.

    Args:
        count: frames of the whole video, where that is known.

    Raises:
        MediaError: ``annotation``: a mask is missing at the end or among the numbers in the names, or there
            are more masks than frames.
    """
    masks = _list(root, uri)
    gap = _gap(masks) if len(masks) != count else None
    if gap is not None:
        raise _missing(f"{unquote(uri)}/{gap}", sum(_number(name) < _number(gap) for name in masks))
    last = max(frames)
    if last >= len(masks):
        raise _missing(f"{unquote(uri)}: a mask after the {len(masks)} that are there", last)
    if count is not None and len(masks) > count:
        what = f"has {len(masks)} masks for {count} frames: {masks[count]} belongs to none"
        raise MediaError("annotation", f"{unquote(uri)}: {what}; remove what is too much")
    return [masks[frame] for frame in frames]


def _list(root: str, uri: str) -> list[str]:
    try:
        found = [name for name in list_images(path_of(root, uri)) if _is_mask(name)]
    except OSError as error:
        what = "the folder of masks can't be read: put it back, or leave the video out of data.scored"
        raise MediaError("annotation", f"{unquote(uri)}: {what}") from error
    if not found:
        raise MediaError("annotation", f"{unquote(uri)}: the folder of masks holds no PNG: copy it again")
    return found


def _is_mask(name: str) -> bool:
    return name.lower().endswith(".png") and not name.startswith(".")


def _missing(name: str, frame: int) -> MediaError:
    what = f"is missing, the mask of frame {frame}: add it, or leave the video out"
    return MediaError("annotation", f"{name}: {what}" if name.endswith(".png") else f"{name} {what}")


def _gap(masks: Sequence[str]) -> str | None:
    """The first mask missing in a series of evenly numbered names; None where names are not such a series."""
    numbers = [_number(name) for name in masks]
    if len(numbers) < 3 or any(n < 0 for n in numbers):
        return None
    steps = [b - a for a, b in pairwise(numbers)]
    usual = min(steps)
    odd = next((i for i, step in enumerate(steps) if step != usual), None)
    if odd is None or usual < 1:
        return None
    name = masks[odd]
    digits = re.findall(r"\d+", Path(name).stem)[-1]
    return (
        re.sub(rf"{digits}(?=\D*$)", str(numbers[odd] + usual).zfill(len(digits)), Path(name).stem) + ".png"
    )


def _number(name: str) -> int:
    """The last number in a file's name; -1 without one."""
    digits = re.findall(r"\d+", Path(name).stem)
    return int(digits[-1]) if digits else -1
