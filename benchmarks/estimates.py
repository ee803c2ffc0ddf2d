"""What `--plan` foretells for 2N videos after a run of N, over what the second run then takes.

    python benchmarks/estimates.py [--videos N] [--frames N] [--runner local|ray] [--workers N]
                                   [--model patchstats|resnet18] [--write]

Real H.264 files of 640x360, ten to a shard, all frames; a store that is empty at first. The first N are run
with ``--limit``, which leaves rates in the store; then the rest is planned, and run. *Wall clock* is that of
the second command as a user waits for it, interpreter and Ray included, which the estimate leaves out;
*worker time* and *CPU time* are what its record says all workers spent. The two runs see the
machine as busy as it is: a load that comes or goes between them shows in the ratios (least in that of CPU
time), and the loads at the start of each are given.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.measuring import RUN, Figure, child, machine, parser, show

MODELS = {
    "patchstats": ["backbone.name=patchstats", "decode.size=128"],
    "resnet18": ["backbone.name=resnet18", "backbone.weights=random", "decode.size=[160,160]"],
}


def make(folder: Path, videos: int, frames: int) -> None:
    from tests.media import make_video

    for number in range(videos):
        make_video(folder / f"clip_{number:03d}.mp4", frames, (360, 640), 25, seed=number)


def spent(store: Path, what: str) -> float:
    """``seconds`` or ``cpu`` of all workers of the latest run of ``store``, setting up left out."""
    status = json.loads(sorted((store / "runs").glob("*/status.json"))[-1].read_text())
    measured = [sums for stage in status["stages"].values() for sums in stage["measured"].values()]
    return sum(sums[what] for sums in measured)


def main() -> int:
    arguments = parser(__doc__)
    arguments.add_argument("--videos", type=int, default=40)
    arguments.add_argument("--frames", type=int, default=100)
    arguments.add_argument("--runner", choices=("local", "ray"), default="local")
    arguments.add_argument("--workers", type=int, default=2)
    arguments.add_argument("--model", choices=sorted(MODELS), default="patchstats")
    args = arguments.parse_args()
    about = {"machine": machine()}
    with tempfile.TemporaryDirectory(prefix="tubeflow-benchmark-") as name:
        videos, store = Path(name, "videos"), Path(name, "store")
        make(videos, 3 * args.videos, args.frames)
        settings = [f"data.root={videos}", f"store={store}", "decode.fps=all", "layout.shard_videos=10"]
        words = [word for setting in (*settings, *MODELS[args.model]) for word in ("--set", setting)]
        command = [*RUN, "features", *words, "--runner", args.runner, "--workers", str(args.workers)]
        loads = [os.getloadavg()[0]]
        first = child([*command, "--limit", str(args.videos)])
        loads.append(os.getloadavg()[0])
        plan = json.loads(child([*command, "--plan", "--json"]).output)
        second = child(command)
        foretold, work, cpu = plan["estimate"], spent(store, "seconds"), spent(store, "cpu")
        about["runs"] = f"{args.videos} videos in {first.seconds:.1f} s, then {2 * args.videos} more"
        about["load before each run"] = ", ".join(f"{load:.1f}" for load in loads)
    assert foretold["unknown"] == [] and plan["stages"][0]["todo"] == 2 * args.videos, plan
    foretold_cpu = sum(stage["estimate"]["cpu"] for stage in plan["stages"])
    figures = [
        Figure(
            f"wall clock: foretold {foretold['seconds']:.1f} s, taken {second.seconds:.1f} s",
            f"{foretold['seconds'] / second.seconds:.2f}",
        ),
        Figure(
            f"worker time: foretold {foretold['worker_seconds']:.1f} s, spent {work:.1f} s",
            f"{foretold['worker_seconds'] / work:.2f}",
        ),
        Figure(
            f"CPU time: foretold {foretold_cpu:.1f} s, spent {cpu:.1f} s",
            f"{foretold_cpu / cpu:.2f}",
        ),
    ]
    show(f"--plan's estimate over the run, {args.runner}, {args.workers} workers", figures, about, args.write)
    return 0


if __name__ == "__main__":
    sys.exit(main())
