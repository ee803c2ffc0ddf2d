"""Finding the index of a feature artifact, and building it where it is absent, stale or damaged.

An index is named after the manifests that it was built from, so a grown or repaired artifact has another name
and a stale index is never opened. It lies in ``<artifact>/_frames_index``; where that can't be written, and
for artifacts behind a URL, it lies in a temporary folder or in a cache folder that the caller names.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from stages.artifacts import atomic, scratch
from stages.artifacts.layout import Artifact
from stages.artifacts.place import Place, Url
from stages.features.store.index import Index
from stages.features.store.index_build import build

FOLDER = "_frames_index"
_FORMAT = 1
_UNUSED_DAYS = 7
_PARTS = ("entries", "lookup")  # the lookup last: with it the index exists


def open_local(root: Path, cache: Path | None = None) -> tuple[Index, Path | None]:
    """The index of the artifact in ``root``, and the temporary folder it lies in, if it does.

    Raises:
        FileNotFoundError: if ``root`` is no artifact.
        ValueError: if a manifest is damaged.
        StoreError: if neither the store nor the temporary folder can be written.
    """
    artifact = Artifact.at(root)
    name = _name(root)
    for folder in [root / FOLDER, cache]:
        if folder and (index := _open(folder / f"{name}.lookup.arrow")):
            return index, None
    try:
        index = Index(build(artifact, cache or root / FOLDER, name))
    except OSError:
        temporary = Path(tempfile.mkdtemp(prefix="tubeflow-index-"))
        try:
            return Index(build(artifact, temporary, name)), temporary
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
    _remove_unused(index.path)
    return index, None


def open_remote(root: Url, cache: Path | None = None) -> tuple[Index, Path | None]:
    """The index of the artifact at a URL: copied from there, else built from its manifests.

    Raises:
        FileNotFoundError: if there is no artifact.
        ValueError: if a manifest is damaged.
        StoreError: the store can't be reached, or the temporary folder not be written.
    """
    artifact = Artifact.at(root)
    name = _name_remote(root)
    temporary = None if cache else Path(tempfile.mkdtemp(prefix="tubeflow-index-"))
    folder = cache or temporary
    assert folder is not None
    try:
        index = _open(folder / f"{name}.lookup.arrow") or _copy(root / FOLDER, name, folder)
        return index or Index(build(artifact, folder, name)), temporary
    except BaseException:
        if temporary:
            shutil.rmtree(temporary, ignore_errors=True)
        raise


def prepare(root: Place) -> None:
    """Have the index lie beside the shards, so that readers need not build it.

    Raises:
        As `open_local` and `open_remote`.
    """
    if not isinstance(root, Url):
        open_local(root)
        return
    name = _name_remote(root)
    known = _indexes(root / FOLDER)
    if name in known:
        return
    with scratch.temp_folder() as folder:
        build(Artifact.at(root), folder, name)
        for part in _PARTS:
            atomic.publish(folder / f"{name}.{part}.arrow", root / FOLDER / f"{name}.{part}.arrow")
    for old in known:
        for part in reversed(_PARTS):
            (root / FOLDER / f"{old}.{part}.arrow").unlink(missing_ok=True)


def reopen(path: Path) -> Index | None:
    """The index that another process opened, if it is still there."""
    return _open(path)


def _name(root: Path) -> str:
    """Names what was committed: the first half is the same for a copy, the second for this very folder."""
    try:
        with os.scandir(root / "manifest") as found:
            files = sorted((f.name, f.stat()) for f in found if f.name.endswith(".parquet"))
    except FileNotFoundError:
        files = []
    content = _digest((name, stat.st_size) for name, stat in files)
    return f"{content}-{_digest((name, stat.st_mtime_ns) for name, stat in files)}"


def _digest(items: Iterable[tuple[str, int]]) -> str:
    text = "\n".join(f"{name} {value}" for name, value in sorted(items))
    return hashlib.sha256(f"{_FORMAT}\n{text}".encode()).hexdigest()[:16]


def _open(path: Path) -> Index | None:
    """The index at ``path``; None if it is absent or damaged."""
    try:
        index = Index(path)
    except (OSError, ValueError):
        return None
    with contextlib.suppress(OSError):  # a read-only store
        os.utime(path)  # in use: see _remove_unused
    return index


def _remove_unused(kept: Path) -> None:
    """Remove indexes beside ``kept`` that nobody has opened for a week."""
    for lookup in kept.parent.glob("*.lookup.arrow"):
        try:
            if lookup != kept and time.time() - lookup.stat().st_mtime > _UNUSED_DAYS * 86400:
                lookup.unlink()
                lookup.with_name(lookup.name.replace(".lookup.", ".entries.")).unlink(missing_ok=True)
        except OSError:
            continue  # another process was first


def _name_remote(root: Url) -> str:
    """As `_name`, of an artifact at a URL, where only names and sizes are known."""
    try:
        files = (root / "manifest").files()
    except FileNotFoundError:
        files = {}
    return _digest((name, size) for name, size in files.items() if name.endswith(".parquet"))


def _indexes(folder: Url) -> list[str]:
    """Names of the indexes in a remote folder."""
    ending = ".lookup.arrow"
    try:
        return [path.name.removesuffix(ending) for path in folder.iterdir() if path.name.endswith(ending)]
    except FileNotFoundError:
        return []


def _copy(source: Url, name: str, folder: Path) -> Index | None:
    """Copy a fresh index that lies beside the remote shards, if there is one."""
    for found in _indexes(source):
        if found.startswith(name):
            folder.mkdir(parents=True, exist_ok=True)
            for part in _PARTS:
                (source / f"{found}.{part}.arrow").fetch(folder / f"{name}.{part}.arrow")
            return _open(folder / f"{name}.lookup.arrow")
    return None
