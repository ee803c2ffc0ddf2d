"""All benchmarks one after the other: ``make bench``, or ``python benchmarks/run_all.py [--write]``.

Takes about 50 minutes on two quiet cores. ``--write`` appends every figure with date, command and machine
to ``benchmarks/RESULTS.md``. Targets are ratios of one run where that is possible, and none of them is
asserted in a test. Run it when nothing else uses the machine.

==================  ==========================================================================
features_run.py     a whole `features` run over a bare loop, on both runners and two models
plan.py             ``--plan`` for 100,000 catalog rows, all cached: seconds and memory
scale.py            the engine's own cost: plan, tasks, commits and ledger around stages that do nothing
memory.py           peak memory of a worker: a 10-minute 1080p file over a 1-minute one
feature_store.py    five consecutive frames: bytes read over needed, time over a raw ``pread``
training.py         SOLV at published sizes over the direct formulation; waiting for data
scoring.py          ``@solv`` protocols at 480p: seconds a video; memory of ``jf@davis17u``
estimates.py        what ``--plan`` foretells for 2N videos after N, over what the run takes
scaling.py          1, 2 and 4 Ray nodes on this machine: efficiency, and what bounds it
placement.py        `features` decoded on another node over beside the model
==================  ==========================================================================
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.measuring import Figure, child, machine, parser, quiet_environment, show

FOLDER = Path(__file__).resolve().parent
COMMANDS = (
    ("features_run.py", "--runner", "local", "--model", "resnet18"),
    ("features_run.py", "--runner", "ray", "--model", "resnet18"),
    ("features_run.py", "--runner", "local", "--model", "patchstats"),
    ("features_run.py", "--runner", "ray", "--model", "patchstats"),
    ("features_run.py", "--runner", "local", "--model", "resnet18", "--decoder", "pyav"),
    ("plan.py",),
    ("scale.py", "--rows", "10000", "100000"),
    ("scale.py", "--rows", "10000", "100000", "--runner", "ray"),
    ("memory.py",),
    ("memory.py", "--decoder", "pyav"),
    ("training.py",),
    ("scoring.py",),
    ("estimates.py",),
    ("estimates.py", "--runner", "ray"),
    ("scaling.py",),
    ("placement.py",),
)
STORE_TARGETS = {"bytes_ratio": 1.01, "time_ratio": 1.3}


def feature_store(write: bool) -> None:
    """The read benchmark prints JSON; its figures get the form of the others."""
    about = {"machine": machine(), "command": "python benchmarks/feature_store.py --json"}
    ended = child([sys.executable, str(FOLDER / "feature_store.py"), "--json"])
    found = json.loads(ended.output[ended.output.index("{") :])
    figures = []
    for name, value in found.items():
        most = STORE_TARGETS.get(name)
        target = "" if most is None else f"<= {most}"
        figures.append(Figure(name, str(value), target, most is None or value <= most))
    show("five consecutive frames from a feature store", figures, about, write)


def main() -> int:
    args = parser(__doc__).parse_args()
    failed = 0
    for script, *flags in COMMANDS:
        print(f"\n$ python benchmarks/{' '.join([script, *flags])}", flush=True)
        command = [sys.executable, FOLDER / script, *flags, *(["--write"] if args.write else [])]
        failed += subprocess.run(command, env=quiet_environment(), check=False).returncode != 0
    print("\n$ python benchmarks/feature_store.py", flush=True)
    feature_store(args.write)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
