"""``data.kind=ytvis``: YouTube-VIS 2019 as it is downloaded.

``<split>/JPEGImages/<video>/<frame>.jpg`` for the splits train, valid and test; the JSON of each lies at the
root (``train.json``) or in the folder of its split (``train/train.json``). Masks are public for train only.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from urllib.parse import unquote

from stages.catalog.dataset import DataSet
from stages.catalog.errors import CatalogError
from stages.catalog.frames import folder_row
from stages.catalog.ids import path_of, uri_from_path
from stages.catalog.splits import refuse_unknown, refuse_unscored, split_names
from stages.catalog.walk import check_root, unseen_row
from stages.catalog.ytvis_json import JsonFaultError, JsonIndex, VideoEntry, read_index
from stages.outcome import MediaError
from stages.stage import Row

SPLITS = ("train", "valid", "test")
EVALUATION = slice(600, 900)
"""The videos of train, in the order of its JSON, that are the published 300-video split ``solv300``."""

_JSONS = ("{0}.json", "{0}/{0}.json", "{0}/instances.json")
_ORPHAN = re.compile(r"(?P<json>.*\.json)#(?P<video>-?\d+)", re.DOTALL)


class YtvisSet(DataSet):
    """The videos of the splits that ``data.split`` names, each a folder of images.

    Names of splits, joined by ``+``: ``train``, ``valid``, ``test``, ``solv300`` (300 of train) and
    ``solv-train`` (train without these). Ground truth is ``ytvis-png:`` with a folder of masks where
    ``Annotations/<video>`` lies beside the images, else ``ytvis:`` with the JSON and the video's id where the
    JSON has annotations of it.
    """

    folders = True
    uses = ("split", "scored", "exclude_eval", "annotations", "fps")

    def items(self) -> list[Row]:
        """See `DataSet.items`; this one opens the JSON files.

        A video whose folder is absent is an item that will be rejected, and so are annotations of a video
        that the JSON doesn't list. A folder that the JSON doesn't list is a video without ground truth.
        """
        check_root(self.root)
        rows = [folder_row(self.root, self._images(video)) for video in sorted(self._videos)]
        for split in SPLITS:
            if split in self._whole:
                rows += [folder_row(self.root, folder) for folder in self._unlisted(split)]
                rows += [
                    unseen_row(os.fsencode(f"{self._json(split)}#{number}"))
                    for number in self._index(split).orphans()
                ]
        if not rows:
            raise CatalogError(f"data.root={self.root} has no video in data.split={self.spec.split}")
        if self.spec.scored != "all":
            refuse_unscored(self.spec.scored, self.spec.split, len(self._scored & self._videos.keys()))
        return rows

    def prepare(self, uri: str) -> None:
        """Refuse annotations without a video and a listed video without a folder; see `DataSet.prepare`.

        Raises:
            MediaError: ``annotation`` for the former, ``unreadable`` for the latter.
        """
        orphan = _ORPHAN.fullmatch(unquote(uri))
        if orphan is not None:
            what = f"annotations speak of video {orphan['video']}, which videos does not list"
            raise MediaError("annotation", f"{orphan['json']}: {what}: add its entry or take them out")
        if Path(self.root).is_dir() and not os.path.lexists(path_of(self.root, uri)):
            json_file = self._json(uri.partition("/")[0])
            what = f"{json_file} lists this video and its folder is not there: unpack its frames again"
            raise MediaError("unreadable", f"{unquote(uri)}: {what}")

    def truth(self, uri: str) -> str | None:
        """See `DataSet.truth` and the class."""
        split, _, rest = uri.partition("/")
        video = split, unquote(rest.removeprefix("JPEGImages/"))
        if video not in self._videos or video not in self._scored:
            return None
        folder = f"{split}/Annotations/{rest.removeprefix('JPEGImages/')}"
        if self.spec.annotations == "auto" and Path(path_of(self.root, folder)).is_dir():
            return f"ytvis-png:{folder}"
        if (
            self.spec.annotations == "png"
        ):  # a folder that is not there is named too: scoring rejects the video
            return f"ytvis-png:{folder}" if Path(self.root, split, "Annotations").is_dir() else None
        entry = self._videos[video]
        if entry.number not in self._index(split).spans:
            return None
        return f"ytvis:{uri_from_path(self._json(split).encode())}#{entry.number}"

    @cached_property
    def _whole(self) -> list[str]:
        """Splits that are taken whole."""
        wanted = split_names(self.spec.split)
        if wanted is None:
            return [split for split in SPLITS if self._find(split) is not None] or list(SPLITS[:1])
        refuse_unknown("data.split", wanted, _NAMES, "data.kind=ytvis")
        return [split for split in SPLITS if split in wanted]

    @cached_property
    def _videos(self) -> dict[tuple[str, str], VideoEntry]:
        """The videos of ``data.split`` by split and name."""
        wanted = split_names(self.spec.split)
        chosen = self._named(self._whole if wanted is None else wanted)
        if self.spec.exclude_eval and any(split == "train" for split, _ in chosen):
            for video in self._named(["solv300"]):
                chosen.pop(video, None)
        return chosen

    @cached_property
    def _scored(self) -> set[tuple[str, str]]:
        names = split_names(self.spec.scored)
        if names is None:
            return set(self._videos)
        refuse_unknown("data.scored", names, _NAMES, "data.kind=ytvis")
        return set(self._named(names))

    def _named(self, names: Sequence[str]) -> dict[tuple[str, str], VideoEntry]:
        found: dict[tuple[str, str], VideoEntry] = {}
        for name in names:
            split = name if name in SPLITS else "train"
            videos = self._index(split).videos
            if name in ("solv300", "solv-train"):
                self._refuse_short(videos)
                before, rest = videos[: EVALUATION.start], videos[EVALUATION.stop :]
                videos = videos[EVALUATION] if name == "solv300" else before + rest
            found |= {(split, entry.name): entry for entry in videos}
        return found

    def _refuse_short(self, videos: Sequence[VideoEntry]) -> None:
        if len(videos) < EVALUATION.stop:
            raise CatalogError(
                f"{self._json('train')} under data.root={self.root} lists {len(videos)} videos; the split of "
                f"300 is its numbers {EVALUATION.start} to {EVALUATION.stop - 1}: download the whole file, "
                "or name other splits in data.split and data.scored and leave data.exclude_eval off"
            )

    def _find(self, split: str) -> str | None:
        names = [form.format(split) for form in _JSONS]
        return next((name for name in names if Path(self.root, name).is_file()), None)

    def _json(self, split: str) -> str:
        """The JSON of a split, as a path below the root."""
        found = self._find(split)
        if found is None:
            looked = ", ".join(form.format(split) for form in _JSONS)
            raise CatalogError(
                f"data.root={self.root} has no JSON of the split {split} (looked for {looked}): download it, "
                "or name other splits in data.split; for features alone data.kind=frames will do"
            )
        return found

    def _index(self, split: str) -> JsonIndex:
        name = self._json(split)
        if not Path(self.root, split, "JPEGImages").is_dir():
            raise CatalogError(
                f"data.root={self.root} has {name} but no folder {split}/JPEGImages: unpack the frames of "
                f"{split} there, or name other splits in data.split"
            )
        try:
            return read_index(str(Path(self.root, name)), name)
        except OSError as error:
            raise CatalogError(f"{Path(self.root, name)} can't be read: {error.strerror}") from error
        except JsonFaultError as error:
            raise CatalogError(f"data.root={self.root}: {error}") from error

    def _images(self, video: tuple[str, str]) -> bytes:
        return os.fsencode(f"{video[0]}/JPEGImages/{video[1]}")

    def _unlisted(self, split: str) -> list[bytes]:
        """Folders of images that the JSON of the split does not list."""
        listed = {entry.name.partition("/")[0] for entry in self._index(split).videos}
        with os.scandir(Path(self.root, split, "JPEGImages")) as entries:
            names = [e.name for e in entries if not e.name.startswith(".") and e.is_dir()]
        return [self._images((split, name)) for name in sorted(names) if name not in listed]


_NAMES = (*SPLITS, "solv300", "solv-train")
