"""Where the parts of an artifact lie, and what produced it.

::

    <store>/<kind>/<name>-<fingerprint8>/
      stage.json               what produced it, complete enough to reproduce it
      plan/000000.parquet      items of the shards that were added, one file per generation; never changed
      shards/<kind>-<shard><suffix>
      manifest/<kind>-<shard>.parquet    its presence is the commit
      rejects/<kind>-<shard>.parquet
      attempts/<kind>-<shard>.json       failed decoder children of a shard in progress
      dropped/<kind>-<shard>   empty: the committed shard was removed after use (`stages.artifacts.dropping`)
      _index.parquet           consolidated from the manifests; can be lost
      _SUCCESS.json            totals, when nothing is pending
"""

from __future__ import annotations

import json
import platform
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any

from stages.artifacts import atomic
from stages.artifacts.place import Place, place

FORMAT_VERSION = 1
_LIBRARIES = ("torch", "torchvision", "timm", "av", "decord", "numpy", "pyarrow", "pillow")


class FormatError(ValueError):
    """An artifact was written by another format version of tubeflow."""


@dataclass(frozen=True)
class ShardLayout:
    """How many videos and bytes go into one shard. Recorded once per artifact, then never changed."""

    videos: int = 64
    bytes: int = 256 * 2**20


@dataclass(frozen=True)
class Artifact:
    """The folder of one stage's results. Nothing is read or created until asked for."""

    root: Place
    kind: str
    suffix: str

    @classmethod
    def at(cls, folder: str | Place) -> Artifact:
        """Open an existing artifact.

        Raises:
            FileNotFoundError: if there is no ``stage.json`` in ``folder``.
            FormatError: if it is of a format that this version can't read.
        """
        root = place(folder).absolute()
        if not (root / "stage.json").exists():
            raise FileNotFoundError(f"{root} is no artifact: it holds no stage.json")
        spec = read_stage_json(root)
        return cls(root, spec["kind"], spec["suffix"])

    @property
    def stage_json(self) -> Place:
        """The description of what produced the artifact."""
        return self.root / "stage.json"

    @property
    def success_json(self) -> Place:
        """Totals; present when nothing is pending."""
        return self.root / "_SUCCESS.json"

    @property
    def index_path(self) -> Place:
        """The consolidated index, a cache of the manifests."""
        return self.root / "_index.parquet"

    @property
    def plan_folder(self) -> Place:
        """The generations of the shard plan."""
        return self.root / "plan"

    def shard(self, shard: str) -> Place:
        """The data file of ``shard``."""
        return self.root / self.shard_name(shard)

    def shard_name(self, shard: str) -> str:
        """Its path from the artifact's root."""
        return f"shards/{self.kind}-{shard}{self.suffix}"

    def manifest(self, shard: str) -> Place:
        """The manifest of ``shard``; the shard is committed when it exists."""
        return self.root / "manifest" / f"{self.kind}-{shard}.parquet"

    def rejects(self, shard: str) -> Place:
        """The rejects of ``shard``; absent where nothing was rejected."""
        return self.root / "rejects" / f"{self.kind}-{shard}.parquet"

    def attempts(self, shard: str) -> Place:
        """Failed decoder children of ``shard`` while it is in progress."""
        return self.root / "attempts" / f"{self.kind}-{shard}.json"

    def dropped_mark(self, shard: str) -> Place:
        """The mark of a committed ``shard`` that was removed after use."""
        return self.root / "dropped" / f"{self.kind}-{shard}"

    def dropped(self) -> set[str]:
        """Ids of the shards that were removed after use: one listing."""
        prefix = f"{self.kind}-"
        try:
            names = [path.name for path in (self.root / "dropped").iterdir()]
        except FileNotFoundError:
            return set()
        return {name[len(prefix) :] for name in names if name.startswith(prefix)}

    def exists(self) -> bool:
        """Whether the artifact has been started."""
        return self.stage_json.exists()

    def committed(self) -> list[str]:
        """Ids of the committed shards, sorted: one listing of the manifest folder."""
        prefix, suffix = f"{self.kind}-", ".parquet"
        try:
            names = [path.name for path in (self.root / "manifest").iterdir()]
        except FileNotFoundError:
            return []
        return sorted(
            name[len(prefix) : -len(suffix)]
            for name in names
            if name.startswith(prefix) and name.endswith(suffix)
        )

    @cached_property
    def description(self) -> dict[str, Any]:
        """The content of ``stage.json``."""
        return read_stage_json(self.root)

    @property
    def layout(self) -> ShardLayout:
        """The shard layout the artifact was started with."""
        return ShardLayout(**self.description["layout"])


def read_stage_json(root: Place) -> dict[str, Any]:
    """The description in ``root/stage.json``.

    Raises:
        FormatError: if its ``format_version`` is not the one of this tubeflow.
    """
    spec: dict[str, Any] = json.loads((root / "stage.json").read_text())
    version = spec.get("format_version")
    if version != FORMAT_VERSION:
        raise FormatError(
            f"{root} has format version {version}, this tubeflow reads {FORMAT_VERSION}: "
            "use the tubeflow that wrote it, or move the folder away to have it computed again"
        )
    return spec


def environment() -> dict[str, Any]:
    """Versions and hardware within which equal inputs give equal bytes."""
    versions = {}
    for library in _LIBRARIES:
        try:
            versions[library] = metadata.version(library)
        except metadata.PackageNotFoundError:
            continue
    return {"libraries": versions, "machine": platform.machine(), "processor": _processor()}


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor()


def start(artifact: Artifact, description: dict[str, Any], layout: ShardLayout) -> None:
    """Create the artifact's folder and ``stage.json``, unless another run already has."""
    content = {
        "format_version": FORMAT_VERSION,
        **description,
        "suffix": artifact.suffix,
        "layout": {"videos": layout.videos, "bytes": layout.bytes},
        "environment": environment(),
    }
    data = json.dumps(content, indent=2, sort_keys=True) + "\n"
    atomic.create(artifact.stage_json, data.encode())
    for folder in ("shards", "manifest", "rejects", "plan", "attempts"):
        with atomic.store_errors(artifact.root / folder):
            (artifact.root / folder).mkdir(exist_ok=True)
