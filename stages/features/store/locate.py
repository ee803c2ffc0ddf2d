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
from typing import Any

from stages.artifacts.layout import Artifact
from stages.features.store.index import Index
from stages.features.store.index_build import build

FOLDER = "_frames_index"
_FORMAT = 1
_UNUSED_DAYS = 7


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


def open_remote(url: str, cache: Path | None = None) -> tuple[Index, Path | None]:
    """The index of the artifact at an ``fsspec`` URL: copied from there, else built from its manifests.

    Raises:
        FileNotFoundError: if there is no artifact.
        ValueError: if a manifest is damaged.
    """
    import fsspec

    fs, root = fsspec.core.url_to_fs(url)
    root = root.rstrip("/")
    if not fs.exists(f"{root}/stage.json"):
        raise FileNotFoundError(f"{url} is no artifact: it holds no stage.json")
    manifests = _listed(fs, f"{root}/manifest", ".parquet")
    name = _digest((n, size) for n, _, size in manifests)
    temporary = None if cache else Path(tempfile.mkdtemp(prefix="tubeflow-index-"))
    folder = cache or temporary
    assert folder is not None
    try:
        index = _open(folder / f"{name}.lookup.arrow") or _copy(fs, root, name, folder)
        return index or _build_remote(fs, root, manifests, folder, name), temporary
    except BaseException:
        if temporary:
            shutil.rmtree(temporary, ignore_errors=True)
        raise


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


def _listed(fs: Any, folder: str, ending: str) -> list[tuple[str, str, int]]:
    """(name, path, bytes) of the files in a remote folder; empty where there is no such folder."""
    try:
        paths = [p for p in fs.ls(folder, detail=False) if p.endswith(ending)]
    except FileNotFoundError:
        return []
    sizes = fs.sizes(paths)
    return sorted((p.rsplit("/", 1)[1], p, size) for p, size in zip(paths, sizes, strict=True))


def _copy(fs: Any, root: str, name: str, folder: Path) -> Index | None:
    """Copy a fresh index that lies beside the remote shards, if there is one."""
    for found, path, _ in _listed(fs, f"{root}/{FOLDER}", ".lookup.arrow"):
        if found.startswith(name):
            folder.mkdir(parents=True, exist_ok=True)
            for part in ("entries", "lookup"):  # the lookup last: with it the copy exists
                fs.get_file(path.replace(".lookup.", f".{part}."), str(folder / f"{name}.{part}.arrow"))
            return _open(folder / f"{name}.lookup.arrow")
    return None


def _build_remote(
    fs: Any, root: str, manifests: list[tuple[str, str, int]], folder: Path, name: str
) -> Index:
    """Build the index from copies of the remote manifests, which are then thrown away."""
    with tempfile.TemporaryDirectory(prefix="tubeflow-manifests-") as mirror:
        (Path(mirror) / "manifest").mkdir()
        fs.get_file(f"{root}/stage.json", f"{mirror}/stage.json")
        for found, path, _ in manifests:
            fs.get_file(path, f"{mirror}/manifest/{found}")
        return Index(build(Artifact.at(mirror), folder, name))
