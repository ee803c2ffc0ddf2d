"""One small measured run for tests: videos of every sort through SOLV, tubes, scores, tables, page.

It takes some seconds, so the fixture ``measured`` makes it once and every test that reads it shares it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.sprites.encode import write_h264
from tests import cli
from tests.layouts import moving, write_masks

SIZE = (32, 48)
FRAMES, FPS = 5, 5
GOOD = ("a&b <i>", "late", "plain")
"""Videos with a usable annotation: one has a name that is markup, one shows its objects late."""
PROTOCOLS = ("miou@solv", "fgari@solv", "fgari@video", "mbo@video", "mbo@frame", "j@davis16-oracle")
SETTINGS = (
    "data.kind=folder", "data.name=clips", "decode.fps=all", "decode.crop=none", "decode.size=[32,48]",
    "backbone={name: patchstats, stride: 4, facets: [tokens, rgb]}",
    "solv={slots: 4, slot_width: 16, hidden: 16, temporal_heads: 2, temporal_layers: 1, decoder: [16]}",
    "train={steps: 2, batch: 2}", "kmeans={facet: rgb, position: 0.3, clusters: 3}", "blocks.clusters=4",
    f"metrics.protocols=[{','.join(PROTOCOLS)}]", "metrics.baselines=[one,blocks,kmeans]",
)  # fmt: skip


@dataclass(frozen=True)
class Measured:
    """A finished run: where it lies, how it was asked for, what it printed as JSON."""

    data: Path
    store: Path
    arguments: tuple[object, ...]
    result: dict[str, Any]

    def artifact(self, kind: str) -> Path:
        """The folder of one of the run's artifacts."""
        return Path(self.result["artifacts"][kind])


def make_data(root: Path) -> Path:
    """Videos of two squares; `GOOD` ones with masks, others without, with broken, empty or orphaned ones."""
    root.mkdir(parents=True)
    for seed, name in enumerate((*GOOD, "bare", "nothing", "other <b> size")):
        rgb, ids = moving(seed, FRAMES, SIZE)
        write_h264(root / f"{name}.mp4", rgb, FPS)
        if name == "late":
            ids[:2] = 0
        elif name == "nothing":
            ids[:] = 0
        elif name == "other <b> size":
            ids = ids[:, ::2, ::2]
        if name != "bare":
            write_masks(root / "Annotations" / name, ids)
    write_masks(root / "Annotations" / "orphan", moving(0, FRAMES, SIZE)[1])
    return root


def arguments(data: Path, store: Path, *more: str) -> tuple[object, ...]:
    """The command line of such a run."""
    settings = [*SETTINGS, f"data.root={data}", f"store={store}", *more]
    return ("solv_ytvis", *(word for s in settings for word in ("--set", s)), "--runner", "local")


def measured_run(folder: Path) -> Measured:
    """Make the run in ``folder``."""
    data, store = make_data(folder / "videos"), folder / "store"
    asked = arguments(data, store)
    return Measured(data, store, asked, cli.run_json(*asked, "--max-failed", 10, OMP_NUM_THREADS="1"))
