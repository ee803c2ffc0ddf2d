"""Tubes in other formats: YouTube-VIS JSON (results and data set), and indexed PNGs as DAVIS has them."""

from __future__ import annotations

import io
import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stages.artifacts import atomic
from stages.errors import SettingsError
from stages.sprites.palette import mask_palette
from stages.tubes.reader import TubeStore

Without = Mapping[str, Collection[int]]
"""Tubes to leave out by video, such as the one that is background."""

UNNAMED = "object"
"""Category of a tube without a label."""

MOST_PNG = 254
"""Tubes that an indexed PNG can show: 0 is background and 255 is void, as in DAVIS."""

RESULTS, DATA_SET = "results.json", "instances.json"


@dataclass
class _Categories:
    """Ids of labels from 1, in order of appearance; without labels the one category is `UNNAMED`."""

    ids: dict[str, int]

    def of(self, label: str | None) -> int:
        return self.ids.setdefault(label or UNNAMED, len(self.ids) + 1)

    def entries(self) -> list[dict[str, Any]]:
        named = self.ids or {UNNAMED: 1}
        return [{"id": number, "name": name, "supercategory": UNNAMED} for name, number in named.items()]


def export_youtube_vis(
    store: TubeStore,
    mask: str,
    folder: str | Path,
    videos: Sequence[str] | None = None,
    without: Without | None = None,
) -> tuple[Path, Path]:
    """Write ``results.json`` (scored tubes) and ``instances.json`` (videos, categories, annotations).

    Videos are numbered from 1 in their order, frames are called ``<video>/<index in the source>.jpg``.
    A tube's category is its label, else ``object``; masks are compressed COCO run lengths, None where a tube
    is absent.

    Args:
        store: the tubes.
        mask: kind of masks.
        folder: created where absent; files in it are replaced.
        videos: which ones; None for all.
        without: tubes to leave out; none by default.

    Returns:
        The paths of both files.

    Raises:
        KeyError: a video is not in the store, or has no such masks.
        StoreError: the folder can't be written.
    """
    chosen = store.videos() if videos is None else list(videos)
    results, data_set = Path(folder) / RESULTS, Path(folder) / DATA_SET
    categories = _Categories({})
    entries = [_video_entry(store, video, number) for number, video in enumerate(chosen, start=1)]

    def annotations() -> Iterator[dict[str, Any]]:
        for entry, video in zip(entries, chosen, strict=True):
            yield from _annotations(store, video, mask, entry, categories, (without or {}).get(video, ()))

    kept = ("video_id", "category_id", "score", "segmentations")
    _write(results, _listed({key: a[key] for key in kept} for a in annotations()))
    numbered = ({"id": i, **_without(a, "score")} for i, a in enumerate(annotations(), start=1))
    head = {"info": {"description": "tubes found by tubeflow"}, "videos": entries}
    _write(data_set, _wrapped(head, numbered, categories))
    return results, data_set


def _video_entry(store: TubeStore, video: str, number: int) -> dict[str, Any]:
    shard = store.shard(video)
    height, width = shard.size(video)
    names = [f"{video}/{frame:05d}.jpg" for frame in shard.frames(video).tolist()]
    return {"id": number, "height": height, "width": width, "length": len(names), "file_names": names}


def _annotations(
    store: TubeStore,
    video: str,
    mask: str,
    entry: Mapping[str, Any],
    categories: _Categories,
    absent: Collection[int],
) -> Iterator[dict[str, Any]]:
    """One entry per tube of a video, with a value per frame."""
    shard = store.shard(video)
    places = {frame: position for position, frame in enumerate(shard.frames(video).tolist())}
    size, length = [entry["height"], entry["width"]], entry["length"]
    found: dict[int, list[dict[str, Any]]] = {}
    for row in shard.rows(video, mask).drop_columns(["slot"]).to_pylist():
        found.setdefault(row["tube"], []).append(row)
    scores = {
        row["tube"]: row["score"] for row in shard.tubes(video, mask).drop_columns(["slot"]).to_pylist()
    }
    for tube in sorted(found.keys() - set(absent)):
        masks: list[Any] = [None] * length
        boxes: list[Any] = [None] * length
        areas: list[Any] = [None] * length
        for row in found[tube]:
            at = places[row["frame"]]
            masks[at], boxes[at] = {"size": size, "counts": row["rle"]}, row["box"]
            areas[at] = row["area"]
        yield {
            "video_id": entry["id"],
            "category_id": categories.of(found[tube][0]["label"]),
            "score": scores[tube],
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


def _listed(items: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """A JSON list in pieces, one item a line."""
    before = "["
    for item in items:
        yield before + json.dumps(item, separators=(",", ":"))
        before = ",\n"
    yield "[]" if before == "[" else "]"


def _wrapped(
    head: Mapping[str, Any], annotations: Iterable[Mapping[str, Any]], categories: _Categories
) -> Iterator[str]:
    """The data set in pieces; categories are known when all annotations have been seen."""
    yield json.dumps(head)[:-1] + ', "annotations": '
    yield from _listed(annotations)
    yield f', "categories": {json.dumps(categories.entries())}}}\n'


def _write(path: Path, pieces: Iterable[str]) -> None:
    """Write ``pieces``, of which memory holds one at a time, atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temp = atomic.temp_path(path)
    try:
        with atomic.store_errors(path), temp.open("w", encoding="utf-8") as file:
            file.writelines(pieces)
    except BaseException:
        temp.unlink(missing_ok=True)
        raise
    atomic.publish(temp, path)


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
