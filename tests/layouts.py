"""Small data sets in the layouts that they are downloaded in; MOVi-E is in `tests.tfrecords`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from stages.sprites.palette import mask_palette
from tests.media import make_video


def moving(seed: int, frames: int, size: tuple[int, int] = (32, 48)) -> tuple[np.ndarray, np.ndarray]:
    """uint8 (T, H, W, 3) pictures and uint8 (T, H, W) ids of two squares that move and overlap."""
    rng = np.random.default_rng(seed)
    rgb = np.full((frames, *size, 3), rng.integers(30, 90, 3), np.uint8)
    ids = np.zeros((frames, *size), np.uint8)
    for number, (top, left) in enumerate(((4, 4), (8, 10)), start=1):
        colour = rng.integers(100, 255, 3)
        for t in range(frames):
            there = np.s_[t, top + t : top + t + 12, left : left + 12]
            rgb[there], ids[there] = colour, number
    return rgb, ids


def write_jpegs(folder: Path, rgb: np.ndarray, step: int = 1) -> list[str]:
    """Frames as ``00000.jpg`` and on, every ``step`` numbers; returns their names."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"{t * step:05d}.jpg" for t in range(len(rgb))]
    for name, frame in zip(names, rgb, strict=True):
        Image.fromarray(frame).save(folder / name, quality=95)
    return names


def write_masks(folder: Path, ids: np.ndarray, step: int = 1) -> None:
    """Ids (T, H, W) as indexed PNGs, called like the frames of `write_jpegs`."""
    folder.mkdir(parents=True, exist_ok=True)
    for t, values in enumerate(ids):
        image = Image.fromarray(values)
        image.putpalette(mask_palette().tobytes())
        image.save(folder / f"{t * step:05d}.png")


def run_lengths(mask: np.ndarray) -> dict[str, object]:
    """A mask (H, W) as uncompressed run lengths, down the columns, in the form of COCO."""
    flat = mask.T.reshape(-1).astype(np.int8)
    edges = np.flatnonzero(np.diff(flat, prepend=np.int8(0))).tolist()
    counts = np.diff([0, *edges, flat.size]).tolist()
    return {"size": list(mask.shape), "counts": [int(c) for c in counts]}


def compressed(mask: np.ndarray) -> dict[str, object]:
    """A mask as the compressed string of pycocotools."""
    from pycocotools import mask as coco

    found = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": list(found["size"]), "counts": found["counts"].decode()}


def box_polygon(mask: np.ndarray) -> list[list[float]]:
    """The outline of a mask that is a rectangle."""
    rows, columns = np.nonzero(mask)
    top, bottom, left, right = rows.min(), rows.max() + 1, columns.min(), columns.max() + 1
    return [[float(v) for v in (left, top, right, top, right, bottom, left, bottom)]]


FORMS = {"runs": run_lengths, "compressed": compressed, "polygons": box_polygon}


def whole_squares(seed: int, frames: int, size: tuple[int, int] = (32, 48)) -> list[np.ndarray]:
    """The two squares of `moving`, each bool (T, H, W) and whole where they overlap."""
    squares = []
    for top, left in ((4, 4), (8, 10)):
        mask = np.zeros((frames, *size), bool)
        for t in range(frames):
            mask[t, top + t : top + t + 12, left : left + 12] = True
        squares.append(mask)
    return squares


LETTERBOX = 16
"""Black rows above and below in frames of `make_ytvis` with borders: whole blocks of JPEG."""


def ytvis_json(
    videos: Mapping[str, int], size: tuple[int, int] = (32, 48), form: str = "runs", step: int = 5
) -> dict[str, object]:
    """The content of a JSON file: videos by name with their number of frames, two annotations each.

    Annotations of all videos are listed backwards; the second object is not there in the first frame.
    """
    entries, annotations = [], []
    for number, (name, frames) in enumerate(videos.items(), start=1):
        names = [f"{name}/{t * step:05d}.jpg" for t in range(frames)]
        about = {"id": number, "height": size[0], "width": size[1], "length": frames, "file_names": names}
        entries.append({"license": 1, "flickr_url": "", "date_captured": "", **about})
        for order, masks in enumerate(whole_squares(number, frames, size)):
            segmentations = [FORMS[form](m) if t or not order else None for t, m in enumerate(masks)]
            annotations.append(
                {
                    "id": 10 * number + order, "video_id": number, "category_id": 1 + order, "iscrowd": 0,
                    "height": size[0], "width": size[1], "length": 1, "segmentations": segmentations,
                    "bboxes": [None] * frames, "areas": [None] * frames,
                }
            )  # fmt: skip
    return {
        "info": {"description": 'made by a test: {["é"]}'},
        "videos": entries,
        "categories": [{"id": 1, "name": "person"}, {"id": 2, "name": "giant_panda"}],
        "annotations": annotations[::-1],
    }


def expected_ytvis(frames: int, size: tuple[int, int] = (32, 48)) -> np.ndarray:
    """The id maps that belong to `ytvis_json`: the second object covers the first."""
    ids = np.zeros((frames, *size), np.uint16)
    for number, mask in enumerate(whole_squares(0, frames, size), start=1):
        first = number - 1
        ids[first:][mask[first:]] = number
    return ids


def make_ytvis(
    root: Path,
    splits: Mapping[str, Mapping[str, int]],
    form: str = "runs",
    inside: bool = False,
    pngs: Sequence[str] = (),
    size: tuple[int, int] = (32, 48),
    borders: Sequence[str] = (),
) -> Path:
    """YouTube-VIS 2019 below ``root``.

    Args:
        splits: by split its videos with their numbers of frames; only train gets annotations.
        form: of masks, see `FORMS`.
        inside: the JSON lies in the folder of its split and not at the root.
        pngs: videos of train that also get a folder of PNGs.
        size: of frames and masks.
        borders: videos whose frames have black bars; masks are as without.
    """
    for split, videos in splits.items():
        for number, (name, frames) in enumerate(videos.items(), start=1):
            rgb, ids = moving(number, frames, size)
            if name in borders:
                rgb[:, :LETTERBOX] = rgb[:, -LETTERBOX:] = 0
            write_jpegs(root / split / "JPEGImages" / name, rgb, step=5)
            if name in pngs and split == "train":
                write_masks(root / split / "Annotations" / name, ids, step=5)
        content = ytvis_json(videos, size, form=form)
        if split != "train":
            content["annotations"] = None
        path = root / split / f"{split}.json" if inside else root / f"{split}.json"
        path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    return root


def make_davis(
    root: Path,
    lists: Mapping[str, Sequence[str]],
    year: str = "2017",
    unsupervised: Sequence[str] = (),
    frames: int = 3,
) -> Path:
    """DAVIS-2017 (lists of names) or DAVIS-2016 (lists of paths, masks of 0 and 255) below ``root``.

    Sequences in ``unsupervised`` also get unsupervised annotations, in which the first object's id is 3.
    """
    for number, name in enumerate(sorted({name for names in lists.values() for name in names})):
        rgb, ids = moving(number, frames)
        write_jpegs(root / "JPEGImages/480p" / name, rgb)
        semi = np.where(ids > 0, 255, 0).astype(np.uint8) if year == "2016" else ids
        write_masks(root / "Annotations/480p" / name, semi)
        if name in unsupervised:
            write_masks(
                root / "Annotations_unsupervised/480p" / name, np.where(ids == 1, 3, ids).astype(np.uint8)
            )
    folder = root / "ImageSets" / ("2017" if year == "2017" else "480p")
    folder.mkdir(parents=True, exist_ok=True)
    for name, sequences in lists.items():
        lines = list(sequences)
        if year == "2016":
            paths = [f"480p/{s}/{t:05d}" for s in sequences for t in range(frames)]
            lines = [f"/JPEGImages/{path}.jpg /Annotations/{path}.png" for path in paths]
        (folder / f"{name}.txt").write_text("\n".join(lines) + "\n")
    return root


def box_xml(
    objects: Sequence[tuple[str, int, Sequence[float]]], size: tuple[int, int] = (32, 48), frame: int = 0
) -> str:
    """One file of ImageNet-VID: (WordNet id, track, (xmin, ymin, xmax, ymax)) of every object."""
    found = "".join(
        f"<object><trackid>{track}</trackid><name>{name}</name><bndbox><xmax>{box[2]}</xmax>"
        f"<xmin>{box[0]}</xmin><ymax>{box[3]}</ymax><ymin>{box[1]}</ymin></bndbox>"
        "<occluded>0</occluded><generated>0</generated></object>"
        for name, track, box in objects
    )
    return (
        f"<annotation><folder>v</folder><filename>{frame:06d}</filename><source><database>ILSVRC_2015"
        f"</database></source><size><width>{size[1]}</width><height>{size[0]}</height></size>{found}"
        "</annotation>\n"
    )


def make_imagenet_vid(
    root: Path, snippets: Sequence[str] = (), val: Sequence[str] = (), frames: int = 3
) -> Path:
    """ImageNet-VID below ``root``: snippets of train as ``<package>/<name>``, videos of val with boxes.

    The two squares of `moving` are a dog and a domestic cat, of which the cat is not in the first frame.
    """
    for number, name in enumerate(snippets):
        make_video(root / "Data/VID/snippets/train" / f"{name}.mp4", frames, size=(32, 48), seed=number)
    for number, name in enumerate(val):
        folder = root / "Data/VID/val" / name
        folder.mkdir(parents=True)
        rgb, _ = moving(number, frames)
        boxes = root / "Annotations/VID/val" / name
        boxes.mkdir(parents=True)
        for t in range(frames):
            Image.fromarray(rgb[t]).save(folder / f"{t:06d}.JPEG")
            dog, cat = ("n02084071", 0, (4, 4 + t, 15, 15 + t)), ("n02121808", 1, (10, 8 + t, 21, 19 + t))
            (boxes / f"{t:06d}.xml").write_text(box_xml([dog, cat] if t else [dog], frame=t))
    return root


def make_ssv2(root: Path, train: Sequence[str] = (), validation: Sequence[str] = ()) -> Path:
    """Something-Something-v2 below ``root``: ``<id>.webm`` and the official lists of the two splits."""
    for number, name in enumerate([*train, *validation]):
        path = make_video(root / f"20bn-something-something-v2/{name}.mp4", 4, size=(32, 48), seed=number)
        path.rename(path.with_suffix(".webm"))  # the name is what the layout has; the content says its format
    for split, names in {"train": train, "validation": validation}.items():
        entries = [{"id": n, "label": "putting a cup", "template": "Putting [a cup]"} for n in names]
        (root / f"something-something-v2-{split}.json").write_text(json.dumps(entries))
    return root


def make_image_folder(root: Path, pictures: Mapping[str, tuple[int, int]]) -> Path:
    """Pictures by path below ``root`` with their (height, width)."""
    for number, (name, size) in enumerate(pictures.items()):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((*size, 3), 40 + 20 * number, np.uint8)).save(root / name)
    return root
