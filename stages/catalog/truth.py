"""Reading ground truth: object ids of every wanted frame, as the rule in a catalog row's ``truth`` says.

=============== =====================================================================================
rule            what its uri names
=============== =====================================================================================
``davis2016``   a folder of binary PNGs, one per image of the video and called like it
``davis2017``   a folder of PNGs that hold ids, 255 is void, called like the images
``ytvis-png``   the same
``ytvis``       a JSON file of YouTube-VIS and the video's id: ``train.json#12``
``movi_e``      an example in a TFRecord file
``sprites``     a folder of PNGs that hold ids, 255 is void; sorted, the n-th belongs to frame n
``masks``       the same
``masks-binary`` the same, and whatever is not 0 is the one object
=============== =====================================================================================

The rule ``imagenet_vid`` (a folder of XML files) is one of boxes: `stages.catalog.boxes` reads it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np

from stages.catalog import movi_e, ytvis_truth
from stages.catalog.ids import path_of
from stages.catalog.mask_folder import masks_by_name, masks_by_order
from stages.catalog.masks import read_ids
from stages.catalog.table import split_truth
from stages.decode.image_files import list_images
from stages.outcome import MediaError

Size = tuple[int, int]


@dataclass(frozen=True)
class Truth:
    """Annotation of T frames.

    Attributes:
        ids: uint16 (T, H, W), object ids; 0 is background. Ids may have gaps, frames may have no object.
        void: bool (T, H, W), pixels that don't count; None where the data set has none.
    """

    ids: np.ndarray
    void: np.ndarray | None


def annotated(row: Mapping[str, Any]) -> bool:
    """Whether a catalog row has ground truth."""
    return bool(row["truth"])


def read_truth(root: str, row: Mapping[str, Any], frames: Sequence[int]) -> Truth:
    """The ground truth of a video's frames, upright and as large as they are.

    Args:
        root: the data root.
        row: of the catalog, with ground truth.
        frames: indices of the T wanted frames in the source, from its first and not its segment's first.

    Raises:
        MediaError: ``annotation``: a file, a frame or a key is missing, broken, of another size than the
            frames, or belongs to no frame; the message names it and says what to do.
    """
    rule, uri = split_truth(row["truth"])
    if rule in BOX_RULES:
        what = "its ground truth is boxes, of which no mask can be read: score it in protocols of boxes"
        raise MediaError("annotation", f"{unquote(row['uri'])}: {what}")
    if rule not in _READERS:
        raise MediaError("annotation", f"{row['uri']}: nobody can read the rule {rule!r} of {row['truth']}")
    size = frame_size(row)
    if not len(frames):
        return Truth(np.zeros((0, *size), np.uint16), None)
    return _READERS[rule](root, row, uri, [int(frame) for frame in frames], size)


def frame_size(row: Mapping[str, Any]) -> Size:
    """(height, width) in pixels of a catalog row's frames, upright."""
    size = (row["height"], row["width"])
    return size[::-1] if row.get("rotation") in (90, 270) else size


def _folder(binary: bool, by_name: bool) -> Callable[..., Truth]:
    def read(root: str, row: Mapping[str, Any], uri: str, frames: Sequence[int], size: Size) -> Truth:
        if by_name:
            names = masks_by_name(root, uri, _images(root, row), frames)
        else:
            # all frames of the source are known only where the row has not been cut off it
            whole = row["frames"] if row.get("video") == row.get("source") else None
            names = masks_by_order(root, uri, frames, whole)
        ids = np.empty((len(frames), *size), np.uint16)
        void = np.empty((len(frames), *size), bool)
        for t, name in enumerate(names):
            found = _mask(Path(path_of(root, uri), name), f"{unquote(uri)}/{name}", binary)
            _check(found[0].shape, size, f"{unquote(uri)}/{name}", row)
            ids[t], void[t] = found
        return Truth(ids, None if binary else void)

    return read


def frame_names(root: str, row: Mapping[str, Any], frames: Sequence[int]) -> tuple[list[str], list[str]]:
    """Of a video that is a folder: the names of the frames with the indices ``frames``, and of all.

    Raises:
        MediaError: ``annotation``: the folder can't be read, or holds fewer frames than were catalogued.
    """
    has = _images(root, row)
    gone = [frame for frame in frames if frame >= len(has)]
    if gone:
        what = f"frame {gone[0]} is not there any more, the folder has {len(has)}: run again to catalogue it"
        raise MediaError("annotation", f"{unquote(row['uri'])}: {what}")
    return [has[frame] for frame in frames], has


def _images(root: str, row: Mapping[str, Any]) -> list[str]:
    """Names of the video's frames."""
    try:
        return list_images(path_of(root, row["uri"]))
    except OSError as error:
        what = "the folder of its frames can't be read, so masks can't be matched with them: put it back"
        raise MediaError("annotation", f"{unquote(row['uri'])}: {what}") from error


def _mask(path: Path, name: str, binary: bool) -> tuple[np.ndarray, np.ndarray]:
    try:
        return read_ids(path, name, binary)
    except ValueError as error:
        raise MediaError("annotation", f"{error}: export it as an indexed or grey PNG") from error
    except (OSError, SyntaxError, EOFError) as error:
        raise MediaError("annotation", f"{name}: is no readable image: copy it again") from error


def _check(found: tuple[int, ...], size: Size, name: str, row: Mapping[str, Any]) -> None:
    if tuple(found) != size:
        sizes = (
            f"has {found[0]} x {found[1]} pixels, the frames of {unquote(row['uri'])} {size[0]} x {size[1]}"
        )
        raise MediaError("annotation", f"{name}: {sizes} (height x width): export it at the frames' size")


def _ytvis(root: str, row: Mapping[str, Any], uri: str, frames: Sequence[int], size: Size) -> Truth:
    wanted, has = frame_names(root, row, frames)
    return Truth(ytvis_truth.read_ids(root, uri, wanted, size, has), None)


def _movi_e(root: str, row: Mapping[str, Any], uri: str, frames: Sequence[int], size: Size) -> Truth:
    ids = np.empty((len(frames), *size), np.uint16)
    for t, found in enumerate(movi_e.read_masks(root, uri, frames)):
        _check(found.shape, size, f"{unquote(uri)}: the mask of frame {frames[t]}", row)
        ids[t] = found
    return Truth(ids, None)


_READERS: dict[str, Callable[..., Truth]] = {
    "davis2016": _folder(binary=True, by_name=True),
    "davis2017": _folder(binary=False, by_name=True),
    "ytvis-png": _folder(binary=False, by_name=True),
    "ytvis": _ytvis,
    "movi_e": _movi_e,
    "sprites": _folder(binary=False, by_name=False),
    "masks": _folder(binary=False, by_name=False),
    "masks-binary": _folder(binary=True, by_name=False),
}
RULES = tuple(_READERS)
"""Rules that `read_truth` knows."""
BOX_RULES = ("imagenet_vid",)
"""Rules of ground truth that is boxes and not masks: `stages.catalog.boxes` reads it."""
