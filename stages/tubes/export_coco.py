"""Tubes as a COCO data set: every frame an image, every tube in a frame an annotation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from stages.tubes import json_file
from stages.tubes.categories import Categories
from stages.tubes.export import DATA_SET, INFO, RESULTS, Without, exported_tubes, frame_name
from stages.tubes.reader import TubeStore


def export_coco(
    store: TubeStore,
    mask: str,
    folder: str | Path,
    videos: Sequence[str] | None = None,
    without: Without | None = None,
    unnamed: bool = True,
    names: Sequence[str] = (),
) -> tuple[Path, Path]:
    """Write ``results.json`` (detections) and ``instances.json`` (videos, images, categories, annotations).

    Images, annotations, videos and tracks are numbered from 1, over the whole data set. A frame is there with
    or without tubes. Masks are compressed run lengths, boxes ``[x, y, width, height]``; ``score`` is that of
    the whole tube. ``track_id`` says which annotations are one tube, ``video_id`` and ``frame_index`` (from
    0) where an image comes from: `COCO` of pycocotools passes over these.

    Args:
        store, mask, folder, videos, without, unnamed, names: as `stages.tubes.export.export_youtube_vis`.

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
        images, tracks = 1, 1
        for number, video in enumerate(chosen, start=1):
            size = list(store.shard(video).size(video))
            for tube in exported_tubes(store, video, mask, (without or {}).get(video, ()), unnamed):
                common = {"category_id": categories.of(tube.label), "score": tube.score}
                for row in tube.rows:
                    yield {
                        "image_id": images + row["position"], **common,
                        "segmentation": {"size": size, "counts": row["rle"]},
                        "bbox": row["box"], "track_id": tracks,
                        "area": row["area"], "iscrowd": 0, "video_id": number,
                    }  # fmt: skip
                tracks += 1
            images += len(store.frames(video))

    kept = ("image_id", "category_id", "score", "segmentation", "bbox", "track_id")
    json_file.write(results, json_file.listed({key: a[key] for key in kept} for a in annotations()))
    parts: dict[str, json_file.Part] = {
        "info": lambda: INFO,
        "videos": ({"id": number, "name": video} for number, video in enumerate(chosen, start=1)),
        "images": _images(store, chosen),
        "annotations": ({"id": number, **a} for number, a in enumerate(annotations(), start=1)),
        "categories": categories.entries,  # last: what is not in the vocabulary is known by now
    }
    json_file.write(data_set, json_file.document(parts))
    return results, data_set


def _images(store: TubeStore, videos: Sequence[str]) -> Iterator[dict[str, Any]]:
    image = 1
    for number, video in enumerate(videos, start=1):
        shard = store.shard(video)
        height, width = shard.size(video)
        for position, frame in enumerate(shard.frames(video).tolist()):
            yield {
                "id": image, "file_name": frame_name(video, frame), "height": height, "width": width,
                "video_id": number, "frame_index": position,
            }  # fmt: skip
            image += 1
