"""VOL's Table 3 on sprites, three seeds: what naming, merging and patch-CLIP are worth.

Everything is trained here, on generated clips: VOL's slots, a small CLIP, its adapted patches. Per seed the
clips, the slots and their training differ; the CLIP is one. Rows: tubes as slots leave them (`raw`) and
merged by name (`named`), with names from crops, from adapted patches and from CLIP's own patches. Beside the
share of right words stand chance and the best constant answer.

    python benchmarks/naming.py --folder FOLDER        # about half an hour on 2 cores
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.recipes import Values, artifacts, average, spread, values

SEEDS = (0, 1, 2)
GOAL = 60.0
WAYS = ("crops", "patches", "vanilla")
RAW, NAMED = "attention", "named"
SHOWN = ("word@sprites", "word-chance@sprites", "word-majority@sprites", "map50@vol", "corloc@vol",
         "decrate@vol", "so@vol", "po@vol", "go@vol", "bg@vol")  # fmt: skip


def main() -> int:
    """Print a JSON line per row; exit code 1 where a goal is missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, required=True, help="for clips and results")
    parser.add_argument("--steps", type=int, help="of VOL's training, to try it out")
    args = parser.parse_args()
    store = f"store={args.folder / 'store'}"

    clip = artifacts("clip_sprites", [store])["clip"]
    adapt = [store, f"data.root={args.folder / 'single'}", f"label.model={clip}"]
    branch = artifacts("adapt_sprites", adapt)["branch"]
    found: dict[str, list[Values]] = {way: [] for way in WAYS}
    for seed in SEEDS:
        for way in WAYS:
            settings = [
                store,
                f"data.root={args.folder / 'videos'}",
                f"label.model={clip}",
                f"label.by={way}",
            ]
            settings += [f"data.sprites.seed={seed}", f"data.name=sprites{seed}", f"train.seed={seed}"]
            settings += [f"label.branch={branch}"] if way == "patches" else []
            settings += [f"train.steps={args.steps}"] if args.steps else []
            found[way].append(values("sprites_named", settings))
    for way in WAYS:
        for candidate in (RAW, NAMED):
            row = {p: spread(found[way], candidate, p) for p in SHOWN}
            print(json.dumps({"names": way, "tubes": candidate, **row}), flush=True)
    return 0 if reached(found) else 1


def reached(found: dict[str, list[Values]]) -> bool:
    """Whether the goals are met; tells the figures that they are about."""
    word = max(average(found[way], RAW, "word@sprites") for way in ("crops", "patches"))
    raw, named = (average(found["patches"], candidate, "map50@vol") for candidate in (RAW, NAMED))
    vanilla = average(found["vanilla"], NAMED, "map50@vol")
    print(json.dumps({
        f"right words, best way (goal {GOAL:g})": round(word, 2),
        "map50@vol of patches, raw -> named (goal: higher)": [round(raw, 2), round(named, 2)],
        "map50@vol, named by vanilla patches -> adapted (goal: higher)": [round(vanilla, 2), round(named, 2)],
    }))  # fmt: skip
    return word >= GOAL and named > raw and named > vanilla


if __name__ == "__main__":
    sys.exit(main())
