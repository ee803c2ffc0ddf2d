"""Scoring at video size: seconds per video in the ``@solv`` protocols, and memory of ``jf@davis17u``.

    python benchmarks/scoring.py [--videos N] [--write]

Generated label maps at 480 x 854: moving objects, a prediction of 8 tubes that follow them with an error.
``@solv`` on videos of 36 frames is held against the same figures from one mask per object and tube and
scikit-learn's adjusted Rand index per frame, which is how the released evaluator works; the first video also
pays for loading SciPy. ``jf@davis17u`` with 20 proposals x 100 frames runs in a process of its own, and once
more without scoring, so that its peak memory can be told from that of the maps; its time is held against the
same pairs on whole frames.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from benchmarks.measuring import Figure, child, machine, parser, show

HEIGHT, WIDTH = 480, 854
SOLV = ("miou@solv", "fgari@solv")
SECONDS, GIGABYTES = 1.0, 2.0


def video(frames: int, tubes: int, objects: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Prediction and truth, int16 (T, H, W): discs that move, on a background cut into the other tubes."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    centres = random.uniform((60, 60), (HEIGHT - 60, WIDTH - 60), (tubes, 2)).astype(np.float32)
    radii, speed = random.uniform(40, 90, objects), random.uniform(-1.5, 1.5, (objects, 2))
    ground = objects + np.argmin([(y - cy) ** 2 + (x - cx) ** 2 for cy, cx in centres[objects:]], axis=0)
    prediction = np.repeat(ground[None].astype(np.int16), frames, axis=0)
    truth = np.zeros((frames, HEIGHT, WIDTH), np.int16)
    for t in range(frames):
        for k in range(objects):
            cy, cx = centres[k] + t * speed[k]
            truth[t][(y - cy) ** 2 + (x - cx) ** 2 < radii[k] ** 2] = k + 1
            prediction[t][(y - cy - 9) ** 2 + (x - cx + 6) ** 2 < radii[k] ** 2] = k
    return prediction, truth


def plain_solv(prediction: np.ndarray, truth: np.ndarray) -> list[float]:
    """mIoU and FG-ARI of ``@solv`` from a mask per object and tube, and scikit-learn."""
    from scipy.optimize import linear_sum_assignment
    from sklearn.metrics import adjusted_rand_score

    objects, tubes = np.unique(truth[0])[1:], np.unique(prediction)
    scores = np.zeros((len(tubes), len(objects)))
    for k, tube in enumerate(tubes):
        for g, number in enumerate(objects):
            mine, theirs = prediction == tube, truth == number
            union = (mine | theirs).sum(axis=(1, 2))
            scores[k, g] = ((mine & theirs).sum(axis=(1, 2))[union > 0] / union[union > 0]).mean()
    rows, columns = linear_sum_assignment(-scores)
    labels = np.zeros_like(truth)
    for k, g in zip(rows, columns, strict=True):
        labels[prediction == tubes[k]] = objects[g]
    frames = [t for t in range(len(truth)) if truth[t].any()]
    ari = [adjusted_rand_score(truth[t][truth[t] > 0], labels[t][truth[t] > 0]) for t in frames]
    return [float(scores[rows, columns].mean()), float(np.mean(ari))]


def plain_pairs(
    prediction: np.ndarray, truth: np.ndarray, frames: int, proposals: int, objects: int
) -> float:
    """Seconds per frame for J and F of all pairs, each pair on whole frames of its own."""
    import cv2

    from stages.metrics.boundary import boundary, radius

    reach = radius(HEIGHT, WIDTH)
    y, x = np.ogrid[-reach : reach + 1, -reach : reach + 1]
    disk = (y * y + x * x <= reach * reach).astype(np.uint8)
    began = time.perf_counter()
    for t in range(frames):
        for k in range(proposals):
            for g in range(1, objects + 1):
                mine, theirs = prediction[t] == k, truth[t] == g
                (mine & theirs).sum(), (mine | theirs).sum()
                lines = boundary(mine), boundary(theirs)
                near = [cv2.dilate(line.astype(np.uint8), disk) for line in lines]
                (lines[0] * near[1]).sum(), (lines[1] * near[0]).sum()
    return (time.perf_counter() - began) / frames


def solv(videos: int) -> list[Figure]:
    from stages.metrics.protocols import pooled, score

    spent, plain, worst = [], [], 0.0
    for seed in range(videos):
        prediction, truth = video(36, 8, 3, seed)
        began = time.perf_counter()
        found = score(SOLV, prediction, truth)
        spent.append(time.perf_counter() - began)
        if seed < 2:
            began = time.perf_counter()
            expected = plain_solv(prediction, truth)
            plain.append(time.perf_counter() - began)
            mine = [pooled(name, {"": [s for s in found if s.protocol == name]}) for name in SOLV]
            worst = max(worst, *(abs(a - b) for a, b in zip(mine, expected, strict=True) if a is not None))
    each, middle = max(spent), sorted(spent)[len(spent) // 2]
    return [
        Figure(
            f"@solv, 36 frames at 480p, seconds a video: worst of {videos} (median {middle:.3f})",
            f"{each:.3f}",
            f"<= {SECONDS:g}",
            each <= SECONDS,
        ),
        Figure("@solv, a mask per object and tube and scikit-learn over this", f"{min(plain) / middle:.1f}"),
        Figure("@solv, largest difference between the two", f"{worst:.1e}", "<= 1e-9", worst <= 1e-9),
    ]


def davis(frames: int, proposals: int, objects: int, scored: bool) -> dict[str, float]:
    """What the child does and says. The plain pairs of two frames stand for all."""
    from stages.metrics.protocols import score

    prediction, truth = video(frames, proposals, objects, 0)
    began = time.perf_counter()
    found = score(["jf@davis17u"], prediction, truth) if scored else []
    seconds = time.perf_counter() - began
    plain = plain_pairs(prediction, truth, 2, proposals, objects) if scored else 0.0
    return {"seconds": seconds, "plain": plain * frames, "scores": len(found)}


def main() -> int:
    arguments = parser(__doc__)
    arguments.add_argument("--videos", type=int, default=10)
    arguments.add_argument("--davis", choices=["scored", "maps"], help="only score (or make) the DAVIS video")
    args = arguments.parse_args()
    frames, proposals, objects = 100, 20, 5
    if args.davis:
        print(json.dumps(davis(frames, proposals, objects, args.davis == "scored")))
        return 0
    about = {"machine": machine(), "video": f"{HEIGHT} x {WIDTH}, int16 label maps"}
    # Before anything is large here: the kernel counts this process's pages as a child's until it starts.
    runs = [child([sys.executable, __file__, "--davis", which]) for which in ("scored", "maps")]
    said = json.loads(runs[0].output.splitlines()[-1])
    assert said["scores"] == objects, said
    peak, maps = (run.rss / 2**30 for run in runs)
    what = f"jf@davis17u, {proposals} proposals x {frames} frames x {objects} objects"
    figures = solv(args.videos)
    figures += [
        Figure(f"{what}: peak RSS in GiB", f"{peak:.2f}", f"<= {GIGABYTES:g}", peak <= GIGABYTES),
        Figure("  of which maps and libraries without scoring", f"{maps:.2f}"),
        Figure("  seconds", f"{said['seconds']:.1f}"),
        Figure("  every pair on whole frames, over this", f"{said['plain'] / said['seconds']:.1f}"),
    ]
    show("scoring at video size", figures, about, args.write)
    return 0 if all(figure.good for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(main())
