"""Where work was done: by session, of which every node of `tests.cluster.nodes` has its own.

Run as a script it streams a toy chain: address of the cluster, folder, number of shards.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import psutil

from stages.decode.decoders.pyav_ import PyAVDecoder
from tests.cluster.toy import ToyStage, ToyWorker


def note(folder: Path, what: str) -> None:
    """Leave a file that says ``what`` and which session it was done in."""
    folder.mkdir(exist_ok=True)
    (folder / f"{what}-{os.getsid(0)}").touch()


def noted(folder: Path, what: str) -> set[int]:
    """The sessions in which ``what`` was done."""
    return {int(path.name.rpartition("-")[2]) for path in folder.glob(f"{what}-*")}


class NotingDecoder(PyAVDecoder):
    """PyAV, with notes beside the folder of the videos: where, and whose child decodes."""

    def pictures(self, wanted: Sequence[int], size=None) -> Iterator:
        folder = Path(self._path).parent.parent / "notes"
        note(folder, "decode")
        note(folder, Path(psutil.Process(os.getppid()).cmdline()[0]).name.partition(".")[0])
        yield from super().pictures(wanted, size)


class NotingWorker(ToyWorker):
    def process(self, items, writer, attempts):
        note(Path(self._context.data_root) / "notes", self._label)
        yield from super().process(items, writer, attempts)


@dataclass(frozen=True)
class Light(ToyStage):
    def open(self, context):
        return NotingWorker(self.label, context)


@dataclass(frozen=True)
class Model(Light):
    accelerated: ClassVar[bool] = True


def main(address: str, folder: str, shards: str) -> None:
    """A light stage, two with models, and a light one again."""
    from dataclasses import replace

    from cluster.on_ray import RayRunner
    from tests.cluster.test_local import tasks
    from tests.cluster.toy import make_chain

    chain = make_chain(Path(folder), "abcd", videos=1)
    kinds = (Light, Model, Model, Light)
    chain = tuple(
        replace(bound, stage=kind(bound.stage.label)) for bound, kind in zip(chain, kinds, strict=True)
    )
    receipts = list(RayRunner(0, 0.5, address).run(chain, tasks(*map(str, range(int(shards)))), "run"))
    json.dump([receipt.error for receipt in receipts], sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
