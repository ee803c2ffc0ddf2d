"""``--gc`` and ``--du``: what killed runs have left behind, and what everything takes.

Collecting goes on beside living runs. What it takes away is listed first; only then are the records of runs
read, which are written before a run makes a shard. So whoever could need something that was listed is seen.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pipelines.output import Output, human_bytes
from pipelines.runs import RunStatus
from pipelines.sharing import has_ended, lease_files, living_runs, of_artifact
from stages.artifacts import atomic, leases, multipart, whole
from stages.artifacts.layout import Artifact, FormatError
from stages.artifacts.ledger import Ledger
from stages.artifacts.multipart import Upload
from stages.artifacts.place import Place, Url, extent, matches, remove_tree, size_below, version

YOUNG_S = 60.0
"""A file younger than that may be one of a run that begins and has no record yet."""
TEXT = "text"
"""Folder of the store with the features of vocabularies (`stages.labeling.text_cache`, which needs torch)."""

_WHAT = {
    "temporary": "temporary file of a killed run",
    "shard": "shard without a manifest",
    "attempts": "failed decoders of a finished shard",
    "starts": "start count of a killed run",
    "lease": "lease of a run that has ended",
    "upload": "parts of an upload that was never completed",
    "unnamed": "files of a killed run",
}
_OWN = ("temporary", "upload", "unnamed")
"""Kinds with names that no other run uses."""


@dataclass(frozen=True)
class Leftover:
    """A file or folder that nothing refers to.

    Attributes:
        owner: name of the artifact, id of the run, or `TEXT`: where it lies.
        written: when it was last changed, in seconds since 1970.
        version: of the file that was listed: another one of that name is somebody's new work.
        artifact, shard: set where it belongs to a shard.
        upload: set where the file was never wholly there.
    """

    path: Place
    what: Literal["temporary", "shard", "attempts", "starts", "lease", "upload", "unnamed"]
    owner: str
    bytes: int
    written: float
    version: str
    artifact: Artifact | None = None
    shard: str = ""
    upload: Upload | None = None

    @classmethod
    def at(
        cls, path: Place, what: Any, owner: str, artifact: Artifact | None = None, shard: str = ""
    ) -> Leftover | None:
        """What lies at ``path``; None if it has gone meanwhile."""
        try:
            stat, mark = path.stat(), version(path)
        except FileNotFoundError:
            return None
        size, written = stat.st_size, stat.st_mtime
        if isinstance(path, Path) and path.is_dir():
            size, latest = extent(path)
            written = max(written, latest)
        return cls(path, what, owner, size, written, mark, artifact, shard)


def collect(store: Place, remove: bool, output: Output) -> int:
    """List (and with ``remove`` delete) what killed runs have left and no living one can need.

    Left alone is what a living run works on: temporary files younger than the oldest such run, and whatever
    else is not committed. It says what it has left alone, and for whom.
    """
    found = [leftover for leftover in _leftovers(store) if leftover is not None]
    runs = living_runs(store)  # after the listing
    gone: list[Leftover] = []
    left: list[tuple[Leftover, str]] = []
    for leftover in found:
        why = _needed(leftover, runs) or (_take_away(leftover, store) if remove else "")
        if why:
            left.append((leftover, why))
        else:
            gone.append(leftover)
            what = _WHAT[leftover.what]
            output.say(f"{human_bytes(leftover.bytes):>10}  {leftover.path}  ({what})")
    _say_left(left, output)
    total = sum(leftover.bytes for leftover in gone)
    verb = "removed" if remove else "would be removed (repeat with --yes)"
    output.say(f"{len(gone)} files, {human_bytes(total)} {verb}")
    output.data(
        {
            "removed": remove,
            "bytes": total,
            "files": [_entry(leftover, _WHAT[leftover.what]) for leftover in gone],
            "left": [_entry(leftover, why) for leftover, why in left],
        }
    )
    return 0


def _entry(leftover: Leftover, why: str) -> dict[str, Any]:
    return {"path": str(leftover.path), "why": why, "bytes": leftover.bytes}


def _say_left(left: list[tuple[Leftover, str]], output: Output) -> None:
    groups: dict[tuple[str, str], list[int]] = {}
    for leftover, why in left:
        groups.setdefault((leftover.owner, why), []).append(leftover.bytes)
    for (owner, why), sizes in groups.items():
        output.say(f"left alone: {len(sizes)} files ({human_bytes(sum(sizes))}) in {owner}: {why}")


def artifacts(store: Place) -> Iterator[Place]:
    """The folders of all artifacts in ``store``."""
    for path in matches(store, "*/*/stage.json"):
        yield path.parent


def _leftovers(store: Place) -> Iterator[Leftover | None]:
    runs = _folders(store / "runs") if isinstance(store, Path) else []
    for folder in [*runs, *_homes(store), store / TEXT]:
        for temporary in _temporaries(folder):
            yield Leftover.at(temporary, "temporary", folder.name)
        for path in [*lease_files(folder), folder / whole.LEASE]:
            if _is_over(path, store):
                yield Leftover.at(path, "lease", folder.name)
    for root in artifacts(store):
        yield from _of_shards(root)
        yield from _unnamed(root)
    yield from _uploads(store)


def _folders(folder: Place) -> list[Place]:
    try:
        return sorted((path for path in folder.iterdir() if path.is_dir()), key=str)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _homes(store: Place) -> Iterator[Place]:
    """Folders of artifacts, of those too that were killed before they had a ``stage.json``."""
    for kind in _folders(store):
        yield from (path for path in _folders(kind) if re.search("-[0-9a-f]{8}$", path.name))


def _temporaries(folder: Place) -> Iterator[Path]:
    """Hidden files, and folders of half-made whole stages."""
    if not isinstance(folder, Path):
        return  # objects appear whole or not at all
    for base, folders, files in os.walk(folder):  # unlike a glob it bears that runs remove what it lists
        for name in sorted([*folders, *files]):
            if atomic.is_temp(Path(name)):
                yield Path(base, name)
        folders[:] = [name for name in folders if not atomic.is_temp(Path(name))]


def _uploads(store: Place) -> Iterator[Leftover]:
    """What an object store has of files that were never wholly there."""
    for upload in multipart.unfinished(store, datetime.datetime.now(datetime.UTC)):
        parts = upload.path.relative_to(store).parts
        owner = parts[1] if len(parts) > 2 else parts[0]
        begun = upload.begun.timestamp()
        yield Leftover(upload.path, "upload", owner, upload.bytes, begun, upload.id, upload=upload)


def _unnamed(root: Place) -> Iterator[Leftover]:
    """Folders of a fit or reduce stage at a URL that its ``_SUCCESS.json`` does not name."""
    if not isinstance(root, Url) or (root / "manifest").is_dir():
        return
    current = whole.current(root)
    for path in _folders(root):
        if re.fullmatch("[0-9a-f]{8}-[0-9a-f]{8}", path.name) and (current is None or path != current[0]):
            assert isinstance(path, Url)
            stats = [(path / name).stat() for name in path.files()]
            size, written = sum(s.st_size for s in stats), max((s.st_mtime for s in stats), default=0.0)
            yield Leftover(path, "unnamed", root.name, size, written, "")


def _of_shards(root: Place) -> Iterator[Leftover | None]:
    try:
        artifact = Artifact.at(root)
    except (FileNotFoundError, FormatError, KeyError):
        return
    listed = {
        folder: matches(root / folder, f"{artifact.kind}-*") for folder in ("shards", "rejects", "attempts")
    }
    committed = set(artifact.committed())  # after the listing: what was committed meanwhile is no left-over
    for folder, suffix in (("shards", artifact.suffix), ("rejects", ".parquet")):
        for path in listed[folder]:
            shard = _shard_of(path, artifact, suffix)
            if path.name.endswith(suffix) and shard not in committed:
                yield Leftover.at(path, "shard", root.name, artifact, shard)
    for path in listed["attempts"]:
        shard = _shard_of(path, artifact, path.suffix)
        if path.suffix != ".json":
            yield Leftover.at(path, "starts", root.name)
        elif shard in committed:
            yield Leftover.at(path, "attempts", root.name, artifact, shard)


def _shard_of(path: Place, artifact: Artifact, suffix: str) -> str:
    return path.name.removeprefix(f"{artifact.kind}-").removesuffix(suffix)


def _needed(leftover: Leftover, runs: list[RunStatus]) -> str:
    """Who may need ``leftover``, in words; empty if it is surely left over."""
    if leftover.what == "lease":
        return ""  # that was seen when it was listed
    if leftover.artifact is not None:
        holder = leases.holder(leftover.artifact.lease(leftover.shard))
        if holder is not None:
            return f"{holder} is at work on it"
    users = runs if leftover.owner == TEXT else of_artifact(runs, leftover.owner)
    users = users + [run for run in runs if run.status["run"] == leftover.owner]
    users.sort(key=_started)
    # what was written before a run began is none of its own, unless it has a name that the run may use
    if users and (leftover.what not in _OWN or leftover.written >= _started(users[0]) - leases.SKEW_S):
        return f"run {users[0].status['run']} works on it, last sign of life {users[0].age_s:.0f} s ago"
    if time.time() - leftover.written < YOUNG_S:
        return f"younger than {YOUNG_S:.0f} s, perhaps of a run that begins"
    return ""


def _started(run: RunStatus) -> float:
    return datetime.datetime.fromisoformat(run.status["started"]).timestamp()


def _take_away(leftover: Leftover, store: Place) -> str:
    """Remove ``leftover``, unless somebody has begun to need it: then who, in words."""
    with atomic.store_errors(leftover.path):
        if leftover.what == "lease":
            if _is_over(leftover.path, store):
                leftover.path.unlink(missing_ok=True)
            return ""
        if leftover.artifact is not None:
            return _take_from_shard(leftover, leftover.artifact, store)
        with contextlib.suppress(FileNotFoundError):
            if leftover.upload is not None:
                multipart.abort(leftover.upload)
            elif isinstance(leftover.path, Path) and leftover.path.is_dir():
                shutil.rmtree(leftover.path)
            elif leftover.what == "unnamed":
                if (now := whole.current(leftover.path.parent)) is not None and now[0] == leftover.path:
                    return "a run has finished it meanwhile"
                remove_tree(leftover.path)
            else:
                leftover.path.unlink()
    return ""


def _take_from_shard(leftover: Leftover, artifact: Artifact, store: Place) -> str:
    """Remove a file whose name a run that begins now may use: its workers find the shard held meanwhile, and
    runs and file are looked at once more."""
    lease = leases.take(artifact.lease(leftover.shard))
    if isinstance(lease, leases.Holder):
        return f"{lease} is at work on it"
    with lease:
        if why := _needed_now(leftover, store):
            return why
        try:
            same = version(leftover.path) == leftover.version
        except FileNotFoundError:
            return ""
        committed = artifact.manifest(leftover.shard).exists()
        if not same or committed != (leftover.what == "attempts"):
            return "another run has been at work on it meanwhile"
        leftover.path.unlink(missing_ok=True)
    return ""


def _needed_now(leftover: Leftover, store: Place) -> str:
    users = of_artifact(living_runs(store), leftover.owner)
    return f"run {users[0].status['run']} works on it since now" if users else ""


def _is_over(path: Place, store: Place) -> bool:
    found = leases.holder(path)
    return found is None or has_ended(store, found.run)


def disk_use(store: Place, output: Output) -> int:
    """Print bytes, videos and frames of every artifact, and bytes of the features of vocabularies."""
    rows: list[list[str]] = []
    data: list[dict[str, Any]] = []
    for root in [*artifacts(store), *([store / TEXT] if (store / TEXT).is_dir() else [])]:
        size = size_below(root)
        entry: dict[str, Any] = {
            "artifact": TEXT if root.name == TEXT else f"{root.parent.name}/{root.name}",
            "bytes": size,
            "videos": None,
            "frames": None,
        }
        if (root / "manifest").is_dir():
            totals = Ledger.load(Artifact.at(root)).totals()
            entry |= {"videos": totals.done, "frames": totals.frames, "superseded": totals.superseded}
        data.append(entry)
        shown = ["" if entry[key] is None else f"{entry[key]:,}" for key in ("videos", "frames")]
        rows.append([entry["artifact"], human_bytes(size), *shown])
    total = sum(entry["bytes"] for entry in data)
    output.table(["artifact", "size", "videos", "frames"], [*rows, ["total", human_bytes(total), "", ""]])
    output.data({"store": str(store), "bytes": total, "artifacts": data})
    return 0
