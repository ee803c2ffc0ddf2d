"""SOLV on seven real sequences: features of a pretrained CNN against the same network at random, three seeds.

``python benchmarks/real_video.py --data DAVIS --weights FILE --folder F`` runs `solv_davis` with
benchmarks/real_video.yaml from the frames and from mp4 files made of them, and prints a JSON line per source,
weights and candidate (mean and deviation over seeds, in percent), then whether the pretrained features are
better by 10 points in both foreground protocols. About 20 minutes on one core.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path

import numpy as np
from PIL import Image

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.recipes import PROJECT, Values, average, spread, values
from stages.sprites.encode import write_h264

GOAL = 10.0
PROTOCOLS = ("j@davis16-oracle", "j@davis16")
FPS = 24.0


def main() -> int:
    """Run all and print; exit code 1 if a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder laid out like DAVIS-2016")
    parser.add_argument("--weights", required=True, help="of tf_mobilenetv3_small_075")
    parser.add_argument("--folder", type=Path, required=True, help="for results")
    parser.add_argument("--seeds", type=int, nargs="+", default=[20, 21, 22])
    args = parser.parse_args()
    sources = {
        "frames": [f"data.root={args.data.absolute()}"],
        "mp4": [
            f"data.root={as_mp4(args.data, args.folder / 'mp4')}",
            "data.kind=folder",
            "data.mask_values=binary",
        ],
    }
    met = True
    for source, settings in sources.items():
        found = {
            weights: [run(args.folder, [*settings, f"backbone.weights={weights}"], s) for s in args.seeds]
            for weights in (args.weights, "random")
        }
        met = report(source, found[args.weights], found["random"]) and met
    return 0 if met else 1


def run(folder: Path, settings: list[str], seed: int) -> Values:
    """Figures of one run; the seed is that of training and of random weights."""
    settings = [*settings, f"store={folder.absolute() / 'store'}", f"train.seed={seed}"]
    if "backbone.weights=random" in settings:
        settings.append(f"backbone.seed={seed}")
    return values("solv_davis", settings, "--config", str(PROJECT / "benchmarks" / "real_video.yaml"))


def report(source: str, pretrained: list[Values], random: list[Values]) -> bool:
    """Print the rows of one source; whether the method's masks reach the goal there."""
    for name, results in (("pretrained", pretrained), ("random", random)):
        for candidate in results[0]:
            line = {"source": source, "weights": name, "candidate": candidate}
            print(json.dumps(line | {p: spread(results, candidate, p) for p in PROTOCOLS}), flush=True)
    first = next(iter(pretrained[0]))
    gains = {p: average(pretrained, first, p) - average(random, first, p) for p in PROTOCOLS}
    shown = {protocol: round(gain, 2) for protocol, gain in gains.items()}
    print(json.dumps({"source": source, "pretrained over random": shown, "masks": first}), flush=True)
    return min(gains.values()) >= GOAL


def as_mp4(data: Path, folder: Path) -> Path:
    """The sequences as H.264 files with their masks beside them, in ``folder``."""
    for sequence in sorted((data / "JPEGImages" / "480p").iterdir()):
        target = folder / f"{sequence.name}.mp4"
        if target.exists():
            continue
        folder.mkdir(parents=True, exist_ok=True)
        masks = data / "Annotations" / "480p" / sequence.name
        shutil.copytree(masks, folder / "Annotations" / sequence.name, dirs_exist_ok=True)
        frames = [np.asarray(Image.open(path).convert("RGB")) for path in sorted(sequence.glob("*.jpg"))]
        write_h264(target, np.stack(frames), FPS)
    return folder.absolute()


if __name__ == "__main__":
    sys.exit(main())
