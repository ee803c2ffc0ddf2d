"""What ``--plan`` costs for 100,000 catalog rows, all cached: seconds, and peak memory of its process.

    python benchmarks/plan.py [--rows N] [--repeat N] [--write]

A corpus of that many empty files is listed and planned as a run does it, and its catalog and features are
committed through the project's own writers in shards of 64 videos (one small frame each); only probing
and the backbone are left out. Then ``pipelines/run.py features --plan`` runs as a user runs it, with the
consolidated index there. The store is built in a process of its own, because a measured child needs a
small parent.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.measuring import RUN, Figure, child, machine, parser, show

SECONDS, MEGABYTES = 5.0, 500


def settings(folder: Path) -> list[str]:
    return ["--set", f"data.root={folder / 'videos'}", "--set", f"store={folder / 'store'}"]


def build(folder: Path, rows: int) -> None:
    """The store as a run of ``rows`` videos leaves it."""
    from cluster.local import LocalRunner
    from configs.compose import compose
    from pipelines.graph import build as build_graph
    from pipelines.planning import Options, make_plan
    from pipelines.running import finish

    for number in range(rows):
        path = folder / "videos" / f"{number // 1000:03d}" / f"clip_{number:06d}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    graph = build_graph(compose("features", [], settings(folder)[1::2]))
    plan = make_plan(graph, Options(), record=True)
    for task in plan.tasks:
        videos = commit_catalog(graph.chain[0], task)
        commit_features(graph.chain[1], task.shard, videos)
    finish(graph, LocalRunner(1), complete=True)


def commit_catalog(bound, task) -> list[str]:
    """The shard of the catalog that a probe of 40 frames at 8 frames per second would give."""
    from stages.artifacts.commit import commit
    from stages.catalog.ids import source_id
    from stages.outcome import Done

    writer = bound.stage.writer(bound.artifact.root / "shards" / f".{task.shard}.tmp", task.shard)
    outcomes = []
    for item in task.items:
        video = source_id(item["uri"])
        info = {name: item[name] for name in ("uri", "bytes", "mtime")} | {"digest": f"{len(outcomes):032x}"}
        size = {"height": 64, "width": 64, "rotation": 0, "start": 0, "frames": 40, "fps": 8.0}
        writer.add({"video": video, "source": video, "truth": None, **size, **info})
        writer.keep(video)
        outcomes.append(Done(video, info))
    commit(bound.artifact, task.shard, writer.finish(), outcomes)
    return [outcome.video for outcome in outcomes]


def commit_features(bound, upstream: str, videos: list[str]) -> None:
    """One small frame per video."""
    import numpy as np

    from stages.artifacts.commit import commit
    from stages.outcome import Done

    shard = f"{upstream}-00"
    writer = bound.stage.writer(bound.artifact.root / "shards" / f".{shard}.tmp", shard)
    tokens = np.zeros((4, 14), np.float16)
    outcomes = []
    for video in videos:
        writer.add(video, 0, 0.0, "tokens", tokens)
        writer.keep(video)
        outcomes.append(Done(video, {"decoder": "pyav", "frames": 1, "grid": [2, 2], "size": [16, 16]}))
    commit(bound.artifact, shard, writer.finish(), outcomes, upstream)


def main() -> int:
    arguments = parser(__doc__)
    arguments.add_argument("--rows", type=int, default=100_000)
    arguments.add_argument("--repeat", type=int, default=5)
    arguments.add_argument("--build", metavar="FOLDER", help="only build the store there")
    args = arguments.parse_args()
    if args.build:
        build(Path(args.build), args.rows)
        return 0
    about = {"machine": machine()}
    with tempfile.TemporaryDirectory(prefix="tubeflow-benchmark-") as name:
        folder = Path(name)
        built = child([sys.executable, __file__, "--build", name, "--rows", str(args.rows)])
        command = [*RUN, "features", *settings(folder), "--plan", "--json"]
        runs = [child(command) for _ in range(args.repeat)]
        plan = json.loads(runs[0].output)
    assert not plan["pending"] and plan["stages"][1]["cached"] == args.rows, plan
    seconds = sorted(run.seconds for run in runs)
    megabytes = max(run.rss for run in runs) / 1e6
    about["store"] = (
        f"{args.rows:,} rows in {-(-args.rows // 64):,} shards per stage, built in {built.seconds:.0f} s"
    )
    figures = [
        Figure(
            f"seconds, median of {args.repeat} (best {seconds[0]:.2f}, worst {seconds[-1]:.2f})",
            f"{seconds[len(seconds) // 2]:.2f}",
            f"<= {SECONDS:g}",
            seconds[len(seconds) // 2] <= SECONDS,
        ),
        Figure("peak RSS in MB", f"{megabytes:.0f}", f"<= {MEGABYTES}", megabytes <= MEGABYTES),
    ]
    show("--plan, everything cached", figures, about, args.write)
    return 0


if __name__ == "__main__":
    sys.exit(main())
