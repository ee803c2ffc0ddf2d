"""Tubes in other formats: YouTube-VIS JSON (results and data set), and indexed PNGs as DAVIS has them."""

from __future__ import annotations

import io
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stages.artifacts import atomic
from stages.errors import SettingsError
from stages.labeling.vocabulary import UNNAMED
from stages.sprites.palette import mask_palette
from stages.tubes import json_file
from stages.tubes.categories import Categories
from stages.tubes.reader import TubeStore

Without = Mapping[str, Collection[int]]
"""Tubes to leave out by video, such as the one that is background."""

MOST_PNG = 254
"""Tubes that an indexed PNG can show: 0 is background and 255 is void, as in DAVIS."""

RESULTS, DATA_SET = "results.json", "instances.json"
INFO = {"description": "tubes found by tubeflow"}


def export_youtube_vis(
    store: TubeStore,
    mask: str,
    folder: str | Path,
    videos: Sequence[str] | None = None,
    without: Without | None = None,
    unnamed: bool = True,
    names: Sequence[str] = (),
) -> tuple[Path, Path]:
    """Write ``results.json`` (scored tubes) and ``instances.json`` (videos, categories, annotations).

    Videos are numbered from 1 in their order, frames are called ``<video>/<index in the source>.jpg``.
    A tube's category is its label, else ``object`` (see `stages.tubes.categories`), its score as
    `ExportedTube` says; masks are compressed COCO run lengths, None where a tube is absent.

    Args:
        store: the tubes.
        mask: kind of masks.
        folder: created where absent; files in it are replaced.
        videos: which ones; None for all.
        without: tubes to leave out; none by default.
        unnamed: tubes that no name fits are exported too, in category 0.
        names: of the vocabulary: categories 1, 2, and so on. Labels that are not among them follow.

    Returns:
        The paths of both files.

    Raises:
        KeyError: a video is not in the store, or has no such masks.
        StoreError: the folder can't be written.
    """
    chosen = store.videos() if videos is None else list(videos)
    categories = Categories(names)
    results, data_set = Path(folder) / RESULTS, Path(folder) / DATA_SET

    def annotations() -> Iterator[dict[str, Any]]:
        for number, video in enumerate(chosen, start=1):
            entry = _video_entry(store, video, number)
            for tube in exported_tubes(store, video, mask, (without or {}).get(video, ()), unnamed):
                yield _annotation(tube, entry, categories)

    kept = ("video_id", "category_id", "score", "segmentations")
    json_file.write(results, json_file.listed({key: a[key] for key in kept} for a in annotations()))
    parts: dict[str, json_file.Part] = {
        "info": lambda: INFO,
        "videos": (_video_entry(store, video, number) for number, video in enumerate(chosen, start=1)),
        "annotations": ({"id": i, **_without(a, "score")} for i, a in enumerate(annotations(), start=1)),
        "categories": categories.entries,  # last: what is not in the vocabulary is known by now
    }
    json_file.write(data_set, json_file.document(parts))
    return results, data_set


@dataclass(frozen=True)
class ExportedTube:
    """A tube as exports have it.

    Attributes:
        tube: its number.
        label: None where nothing was named.
        score: the probability of its name; without a name the mean confidence of its pixels.
        rows: what it is in each frame: ``position`` (of the frame among the stored ones), ``rle``, ``box``,
            ``area``.
    """

    tube: int
    label: str | None
    score: float
    rows: Sequence[dict[str, Any]]


def exported_tubes(
    store: TubeStore, video: str, mask: str, absent: Collection[int] = (), unnamed: bool = True
) -> Iterator[ExportedTube]:
    """The tubes of a video, by number.

    Args:
        absent: tubes to leave out.
        unnamed: whether tubes that no name fits are there.

    Raises:
        KeyError: there is no such video, or it has no such masks.
    """
    shard = store.shard(video)
    places = {frame: position for position, frame in enumerate(shard.frames(video).tolist())}
    found: dict[int, list[dict[str, Any]]] = {}
    for row in shard.rows(video, mask, _COLUMNS).to_pylist():
        found.setdefault(row["tube"], []).append({**row, "position": places[row["frame"]]})
    for tube in sorted(found.keys() - set(absent)):
        rows = found[tube]
        label, score = rows[0]["label"], rows[0]["label_score"]
        if label == UNNAMED and not unnamed:
            continue
        if score is None:
            score = sum(row["score"] * row["area"] for row in rows) / sum(row["area"] for row in rows)
        yield ExportedTube(tube, label, score, rows)


_COLUMNS = ("tube", "frame", "rle", "box", "area", "score", "label", "label_score")


def frame_name(video: str, frame: int) -> str:
    """What a frame is called, by its index in the source."""
    return f"{video}/{frame:05d}.jpg"


def _video_entry(store: TubeStore, video: str, number: int) -> dict[str, Any]:
    shard = store.shard(video)
    height, width = shard.size(video)
    names = [frame_name(video, frame) for frame in shard.frames(video).tolist()]
    return {"id": number, "height": height, "width": width, "length": len(names), "file_names": names}


def _annotation(tube: ExportedTube, entry: Mapping[str, Any], categories: Categories) -> dict[str, Any]:
    """The entry of a tube of the video of ``entry``, with a value per frame."""
    size, length = [entry["height"], entry["width"]], entry["length"]
    masks: list[Any] = [None] * length
    boxes: list[Any] = [None] * length
    areas: list[Any] = [None] * length
    for row in tube.rows:
        at = row["position"]
        masks[at], boxes[at], areas[at] = {"size": size, "counts": row["rle"]}, row["box"], row["area"]
    return {
        "video_id": entry["id"],
        "category_id": categories.of(tube.label),
        "score": tube.score,
        "segmentations": masks,
        "bboxes": boxes,
        "areas": areas,
        "height": size[0],
        "width": size[1],
        "length": length,
        "iscrowd": 0,
    }


def _without(entry: Mapping[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in entry.items() if name != key}


def export_pngs(
    store: TubeStore,
    mask: str,
    folder: str | Path,
    videos: Sequence[str] | None = None,
    without: Without | None = None,
) -> list[Path]:
    """Write ``<folder>/<video>/<index in the source>.png``, one per frame, with the palette of DAVIS.

    A pixel of tube k has the value k + 1; 0 is no tube. Where tubes overlap, the one with the higher score in
    that frame has the pixel; tubes in ``without`` leave 0.

    Args:
        store, mask, folder, videos, without: as `export_youtube_vis`.

    Returns:
        The folders of the videos.

    Raises:
        SettingsError: a video has more tubes than a PNG can show.
        KeyError: a video is not in the store, or has no such masks.
        StoreError: the folder can't be written.
    """
    made = []
    for video in store.videos() if videos is None else videos:
        labels = store.label_map(video, mask)
        highest = int(labels.max(initial=-1)) + 1
        if highest > MOST_PNG:
            raise SettingsError(
                f"video {video} has {mask} tubes up to number {highest - 1}, but an indexed PNG shows "
                f"{MOST_PNG} at most (0 is background, 255 void): export YouTube-VIS JSON instead"
            )
        values = (labels + 1).astype(np.uint8)
        values[np.isin(labels, list((without or {}).get(video, ())))] = 0
        target = Path(folder) / video
        for frame, picture in zip(store.frames(video).tolist(), values, strict=True):
            atomic.write_bytes(target / f"{frame:05d}.png", _png(picture))
        made.append(target)
    return made


def _png(values: np.ndarray) -> bytes:
    from PIL import Image

    image = Image.fromarray(values, mode="P")
    image.putpalette(mask_palette().tobytes())
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
