"""Clips as files: where each part of a clip lies, and writing it when it is asked for."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from stages.sprites.spec import SpritesSpec

if TYPE_CHECKING:
    from stages.sprites.clip import SpriteClip


@dataclass(frozen=True)
class ClipFiles:
    """The files of one clip, as paths relative to the folder of the data set.

    Attributes:
        video: ``<set>/<clip>.mp4``; written last, so that where it is the rest is too.
        masks: folder of ``00000.png`` ..., indexed PNGs whose value is the object's id.
        flow: ``.npz`` with the array ``flow``, float32 (T-1, H, W, 2), as `SpriteClip.flow`.
        objects: ``.json`` with the list ``objects``, as `SpriteClip.objects`, and the clip's address.
    """

    video: str
    masks: str
    flow: str
    objects: str


def clip_files(spec: SpritesSpec, index: int) -> ClipFiles:
    """Where clip ``index`` lies. The set's folder carries its digest: other settings, other folder."""
    home, name = f"{spec.level}-{spec.digest()}", f"{index:06d}"
    return ClipFiles(
        f"{home}/{name}.mp4",
        f"{home}/Annotations/{name}",
        f"{home}/flow/{name}.npz",
        f"{home}/objects/{name}.json",
    )


def objects_beside(masks: str) -> str:
    """Where the file ``objects`` of the clip lies whose folder of masks is ``masks``; both are relative paths
    as in `ClipFiles`.
    """
    home, _, name = masks.rpartition("/Annotations/")
    return f"{home}/objects/{name}.json"


def clip_index(spec: SpritesSpec, video: str) -> int:
    """The index of the clip whose video is ``video``.

    Raises:
        ValueError: no clip of this set has such a video.
    """
    stem = video.rpartition("/")[2].removesuffix(".mp4")
    if not stem.isdecimal() or clip_files(spec, int(stem)).video != video:
        raise ValueError(f"{video} is no clip of the set {spec.level}-{spec.digest()}")
    return int(stem)


def write_clip(folder: str | Path, spec: SpritesSpec, index: int) -> Path:
    """Write clip ``index`` with its ground truth below ``folder``, unless it is there; gives its path.

    Every part is written under a temporary name and renamed, the video last: an interrupted call leaves no
    half of a file, and simultaneous calls agree.

    Raises:
        OSError: the files can't be written.
    """
    from stages.sprites.clip import clip

    files = clip_files(spec, index)
    video = Path(folder, files.video)
    if video.exists():
        return video
    made = clip(spec, index)
    Path(folder).mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=".sprites-", dir=folder))
    try:
        _write_masks(scratch / "masks", made)
        _write_flow(scratch / "flow", made)
        _write_objects(scratch / "objects", made, spec, index)
        _write_video(scratch / "video", made, spec.fps)
        _sync(scratch)
        _move_folder(scratch / "masks", Path(folder, files.masks))
        for part, target in (("flow", files.flow), ("objects", files.objects), ("video", files.video)):
            _move_file(scratch / part, Path(folder, target))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return video


def _write_masks(folder: Path, made: SpriteClip) -> None:
    from PIL import Image

    from stages.sprites.palette import mask_palette

    folder.mkdir()
    palette = mask_palette().tobytes()
    for number, ids in enumerate(made.ids):
        image = Image.fromarray(ids)
        image.putpalette(palette)
        image.save(folder / f"{number:05d}.png")


def _write_flow(path: Path, made: SpriteClip) -> None:
    import numpy as np

    with path.open("wb") as file:
        np.savez_compressed(file, flow=made.flow)


def _write_objects(path: Path, made: SpriteClip, spec: SpritesSpec, index: int) -> None:
    about = {
        "set": f"{spec.level}-{spec.digest()}",
        "seed": spec.seed,
        "index": index,
        "frames": spec.frames,
        "size": list(spec.size),
        "objects": made.objects,
    }
    path.write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


def _write_video(path: Path, made: SpriteClip, fps: float) -> None:
    from stages.sprites.encode import write_h264

    write_h264(path, made.rgb, fps)


def _move_folder(source: Path, target: Path) -> None:
    """Rename a folder into place; where another writer was first, its folder has the same files and stays."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        source.rename(target)
    except OSError:
        if not target.is_dir():
            raise


def _move_file(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    source.replace(target)


def _sync(folder: Path) -> None:
    """Have every file on disk before the first one gets its name."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
