"""What a store holds: committed shards, manifests, and whether they were ever touched again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

from stages.artifacts.layout import Artifact
from stages.artifacts.ledger import Ledger
from tests import cli


class Mark(NamedTuple):
    """What would change if a file were written again, even with the same bytes."""

    inode: int
    mtime_ns: int
    digest: str


def manifests(store: Path, kind: str) -> list[Path]:
    """The manifests of all artifacts of ``kind``: one per committed shard."""
    return sorted(p for p in store.glob(f"{kind}/*/manifest/*.parquet") if not p.name.startswith("."))


def marks(store: Path) -> dict[str, Mark]:
    """Every file of every committed shard of ``store``."""
    names = {path.stem for path in store.glob("*/*/manifest/*.parquet")}
    found = {}
    for name, digest in cli.digests(store).items():
        if Path(name).stem in names:
            stat = (store / name).stat()
            found[name] = Mark(stat.st_ino, stat.st_mtime_ns, digest)
    return found


def unchanged(before: dict[str, Mark], store: Path) -> bool:
    """Whether every file in ``before`` is still the very same one."""
    now = marks(store)
    return {name: now.get(name) for name in before} == before


def artifact(store: Path, kind: str) -> Artifact:
    """The only artifact of ``kind``."""
    (found,) = store.glob(f"{kind}/*/stage.json")
    return Artifact.at(found.parent)


def ledger(store: Path, kind: str) -> Ledger:
    """The ledger of the only artifact of ``kind``."""
    return Ledger.load(artifact(store, kind))


def outcomes(store: Path, kind: str) -> dict[str, tuple[str, str | None]]:
    """Per current video: its status and, where it was rejected, the error class."""
    rows = ledger(store, kind).current.to_pylist()
    return {row["video"]: (row["status"], row["error_class"]) for row in rows}


def latest_run(store: Path) -> dict:
    """The status record of the latest run."""
    return json.loads(sorted(store.glob("runs/*/status.json"))[-1].read_text())


def leftovers(store: Path) -> list[Path]:
    """Temporary files: of killed runs, and of living ones in this moment."""
    return sorted(path for path in store.rglob(".*.tmp"))


def half_made(store: Path) -> list[Path]:
    """Shards of features that are being written, or were when their run was killed."""
    return [path for path in leftovers(store) if path.name.startswith(".features-")]
