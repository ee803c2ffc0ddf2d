"""``--gc`` and ``--du``: what killed runs have left behind, and what everything takes."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.output import Output, human_bytes
from pipelines.runs import STALE_S, all_runs
from stages.artifacts import atomic
from stages.artifacts.layout import Artifact, FormatError
from stages.artifacts.ledger import Ledger
from stages.artifacts.place import Place, matches, size_below
from stages.errors import SettingsError


@dataclass(frozen=True)
class Leftover:
    """A file that nothing refers to."""

    path: Place
    why: str
    bytes: int
    manifest: Place | None = None
    """Where its manifest would be: should it appear, the file is no left-over any more."""


def collect(store: Place, remove: bool, output: Output) -> int:
    """List (and with ``remove`` delete) temporary files, shards without a manifest, and old attempt counts.

    Raises:
        SettingsError: while a run's heartbeat is younger than ten minutes.
    """
    found = [*_temporaries(store), *(left for artifact in artifacts(store) for left in _leftovers(artifact))]
    # after the listing: a run that has made any of it had its record written before
    alive = [run for run in all_runs(store) if run.alive]
    if alive:
        raise SettingsError(
            f"run {alive[0].status['run']} was alive {alive[0].age_s:.0f} s ago: nothing is collected until "
            f"it has ended, or {STALE_S / 60:.0f} minutes after its last sign of life"
        )
    found = [left for left in found if not (left.manifest and left.manifest.exists())]  # committed meanwhile
    for leftover in found:
        if remove:
            with atomic.store_errors(leftover.path):
                _remove(leftover.path)
        output.say(f"{human_bytes(leftover.bytes):>10}  {leftover.path}  ({leftover.why})")
    total = sum(leftover.bytes for leftover in found)
    verb = "removed" if remove else "would be removed (repeat with --yes)"
    output.say(f"{len(found)} files, {human_bytes(total)} {verb}")
    files = [{"path": str(left.path), "why": left.why, "bytes": left.bytes} for left in found]
    output.data({"removed": remove, "bytes": total, "files": files})
    return 0


def artifacts(store: Place) -> Iterator[Place]:
    """The folders of all artifacts in ``store``."""
    for path in matches(store, "*/*/stage.json"):
        yield path.parent


def _temporaries(store: Place) -> Iterator[Leftover]:
    """Hidden files, and folders of half-made whole stages, in records of runs and in artifacts."""
    if not isinstance(store, Path):
        return  # objects appear whole or not at all
    for folder in [*store.glob("runs/*"), *store.glob("*/*-" + "[0-9a-f]" * 8)]:
        for path in sorted(folder.rglob(".*" + atomic.TEMP_SUFFIX)):
            within = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
            yield Leftover(path, "temporary file of a killed run", sum(p.stat().st_size for p in within))


def _remove(path: Place) -> None:
    if isinstance(path, Path) and path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _leftovers(root: Place) -> Iterator[Leftover]:
    try:
        artifact = Artifact.at(root)
    except (FormatError, KeyError):
        return
    committed = set(artifact.committed())
    for folder, suffix in (("shards", artifact.suffix), ("rejects", ".parquet")):
        for path in matches(root / folder, f"{artifact.kind}-*{suffix}"):
            shard = path.name[len(artifact.kind) + 1 : -len(suffix)]
            if shard not in committed:
                size = path.stat().st_size
                yield Leftover(path, "shard without a manifest", size, artifact.manifest(shard))
    for path in matches(root / "attempts", "*"):
        if path.suffix != ".json":
            yield Leftover(path, "start count of a killed run", path.stat().st_size)


def disk_use(store: Place, output: Output) -> int:
    """Print bytes, videos and frames of every artifact."""
    rows: list[list[str]] = []
    data: list[dict[str, Any]] = []
    for root in artifacts(store):
        size = size_below(root)
        entry: dict[str, Any] = {
            "artifact": f"{root.parent.name}/{root.name}",
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
