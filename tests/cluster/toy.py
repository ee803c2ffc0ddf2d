"""Map and fit stages small enough to see through: lines of text instead of videos."""

from __future__ import annotations

import hashlib
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pyarrow as pa

from cluster.chain import BoundStage, Chain
from stages.artifacts.layout import Artifact, ShardLayout, start
from stages.outcome import Done, Rejected, Skipped
from stages.stage import FitStage, MapStage, WorkContext, WrittenShard
from tests.faults.gates import pass_by


class LineWriter:
    """A shard of lines; see `ShardWriter`."""

    def __init__(self, path: Path) -> None:
        self._path, self._kept, self._new = path, [], []

    def add(self, video, text):
        self._new.append((video, text))

    def keep(self, video):
        self._kept += self._new
        self._new = []

    def discard(self, video):
        self._new = []

    def finish(self):
        data = "".join(f"{video} {text}\n" for video, text in self._kept).encode()
        self._path.write_bytes(data)
        rows = pa.table({"video": pa.array([v for v, _ in self._kept], pa.string())})
        return WrittenShard(self._path, len(data), hashlib.sha256(data).hexdigest(), rows)

    def abort(self):
        self._path.unlink(missing_ok=True)


@dataclass(frozen=True)
class ToyStage(MapStage):
    """Notes each item; ``bad`` rejects, ``skip`` skips, ``kill`` kills the worker once, ``bug`` raises, and
    ``slow`` takes its time in stage b. Every item passes by the gate ``LABEL-ITEM`` in the data's folder."""

    kind: ClassVar[str] = "toy"
    suffix: ClassVar[str] = ".txt"
    label: str = "a"

    @property
    def name(self):
        return self.label

    def open(self, context):
        return ToyWorker(self.label, context)

    def writer(self, path, shard):
        return LineWriter(path)

    def estimate(self, row):
        return 1, 10


class ToyWorker:
    def __init__(self, label, context):
        self._label, self._context = label, context

    def process(self, items, writer, attempts):
        for item in items:
            video = item.get("video") or item["uri"]
            writer.add(video, f"{self._label} of {item.get('text', '')}")
            pass_by(Path(self._context.data_root) / f"{self._label}-{video}")
            if video.startswith("kill"):
                self._die_once(video)
            if video.startswith("slow") and self._label == "b":
                time.sleep(0.3)
            if video.startswith("bug"):
                raise ZeroDivisionError("a bug")
            if video.startswith("bad"):
                yield Rejected(video, "crash", "bad it is")
            elif video.startswith("skip"):
                yield Skipped(video, "skipped it is", {"unchanged": video.endswith("unchanged")})
            else:
                yield Done(video, {"frames": 1, "text": self._label})

    def _die_once(self, video):
        marker = Path(self._context.data_root) / f"{self._label}-{video}"
        if video.startswith("killalways") or not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)

    def close(self):
        (Path(self._context.data_root) / f"closed-{self._label}").touch()


@dataclass(frozen=True)
class ToyFit(FitStage):
    """Writes down what it was given and by which process."""

    kind: ClassVar[str] = "model"

    @property
    def name(self):
        return "toyfit"

    def make(self, inputs, folder, context):
        (folder / "model.txt").write_text(f"{[path.name for path in inputs]} {os.getpid()}")


@dataclass(frozen=True)
class ToldFit(ToyFit):
    """Tells figures, as trainings do."""

    def make(self, inputs, folder, context):
        context.report({"step": 5, "steps": 10, "loss": 0.25, "steps per second": 2.0})
        super().make(inputs, folder, context)


def make_chain(folder: Path, labels: str = "ab", videos: int = 2) -> Chain:
    """A chain of toy stages with started artifacts in ``folder``."""
    context = WorkContext(str(folder), folder)
    chain = []
    for label in labels:
        stage = ToyStage(label)
        artifact = Artifact(folder / "store" / "toy" / label, "toy", ".txt")
        start(artifact, {"kind": "toy", "name": label, "identity": {}}, ShardLayout(videos=videos))
        chain.append(BoundStage(stage, artifact, context))
    return tuple(chain)
