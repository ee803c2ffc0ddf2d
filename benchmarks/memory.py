"""Peak memory of a worker for a 10-minute 1080p file against a 1-minute one: the parent and its decoder.

    python benchmarks/memory.py [--decoder auto|pyav] [--write]

Two real H.264 files of 1920x1080 at 25 frames per second: a minute of moving picture (encoded ultrafast), and
the same packets ten times over with their times moved on. Each goes through a whole run of `features` with
one local worker (``decode.fps=5``, segments of 500 frames, patchstats) in a process of its own, which imports
no torch, so that growth isn't hidden by a large base. Peaks are ``VmHWM`` from ``/proc``: the worker's at its
end, the decoder children's looked at every 20 ms.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import threading
import time
from fractions import Fraction
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.measuring import Figure, child, machine, parser, show

MINUTE = 60 * 25
LONG = 10
MOST = 1.10
RATE = 25


def write_minute(path: Path) -> None:
    """A minute of a gradient with a drifting block: cheap to encode, something to decode in each frame."""
    import av
    import numpy as np

    rows, columns = np.mgrid[0:1080, 0:1920]
    picture = np.stack([rows // 8, columns // 8, (rows + columns) // 16], axis=-1).astype(np.uint8)
    options = {"preset": "ultrafast", "crf": "28", "threads": "1", "g": "250"}
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE, options=options)
        stream.width, stream.height, stream.pix_fmt = 1920, 1080, "yuv420p"
        for index in range(MINUTE):
            shown = picture.copy()
            x = (index * 8) % 1700
            shown[400:600, x : x + 200] = (255, index % 256, 0)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(shown, format="rgb24")))
        container.mux(stream.encode())


def write_long(minute: Path, path: Path) -> None:
    """The packets of ``minute`` ten times, one after the other."""
    import av

    with av.open(str(path), "w") as out:
        stream = None
        for turn in range(LONG):
            with av.open(str(minute)) as source:
                video = source.streams.video[0]
                if stream is None:
                    stream = out.add_stream_from_template(video)
                for packet in source.demux(video):
                    if packet.dts is None:
                        continue
                    shift = int(Fraction(turn * MINUTE, RATE) / packet.time_base)
                    packet.pts, packet.dts, packet.stream = packet.pts + shift, packet.dts + shift, stream
                    out.mux(packet)


def high_water(pid: int) -> int:
    """Peak resident bytes of a process so far; 0 if it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), 0)


def watch_children(peak: dict[str, int], ended: threading.Event) -> None:
    """Keep in ``peak`` the highest peak of this process's children."""
    path = Path(f"/proc/{os.getpid()}/task")
    while not ended.wait(0.02):
        for task in path.iterdir():
            try:
                pids = (task / "children").read_text().split()
            except OSError:
                continue
            peak["child"] = max([peak["child"], *(high_water(int(pid)) for pid in pids)])


def work(folder: Path, decoder: str) -> None:
    """A whole run in this process; prints the peaks and what was stored."""
    from pipelines.cli import main as run

    peak, ended = {"child": 0}, threading.Event()
    watcher = threading.Thread(target=watch_children, args=(peak, ended))
    watcher.start()
    with tempfile.TemporaryDirectory(prefix="tubeflow-benchmark-") as store:
        settings = [f"data.root={folder}", f"store={store}", "decode.fps=5", f"decode.decoder={decoder}"]
        flags = [part for setting in settings for part in ("--set", setting)]
        code = run(["features", *flags, "--runner", "local", "--json"])
    ended.set()
    watcher.join()
    print("\n" + json.dumps({"code": code, "worker": high_water(os.getpid()), "decoder": peak["child"]}))


def measure(folder: Path, decoder: str) -> dict[str, int]:
    ended = child([sys.executable, __file__, "--work", str(folder), "--decoder", decoder])
    told, _, last = ended.output.rstrip().rpartition("\n")
    found = json.loads(last)
    totals = json.loads(told[told.index("{") : told.rindex("}") + 1])["totals"]["features"]
    assert found["code"] == 0 and not totals["rejected"], ended.output
    return {**found, "frames": totals["frames"], "seconds": round(ended.seconds)}


def main() -> int:
    arguments = parser(__doc__)
    arguments.add_argument("--work", metavar="FOLDER", help="only run on the folder, in this process")
    arguments.add_argument("--decoder", choices=("auto", "pyav"), default="auto")
    args = arguments.parse_args()
    if args.work:
        work(Path(args.work), args.decoder)
        return 0
    about = {"machine": machine()}
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="tubeflow-benchmark-") as name:
        short, long = Path(name, "short", "a.mp4"), Path(name, "long", "a.mp4")
        for path, write in ((short, lambda: write_minute(short)), (long, lambda: write_long(short, long))):
            path.parent.mkdir()
            write()
        about["files"] = f"written in {time.perf_counter() - began:.0f} s"
        one, ten = (measure(path.parent, args.decoder) for path in (short, long))
    assert ten["frames"] == LONG * one["frames"], (one, ten)
    figures = []
    for part in ("worker", "decoder"):
        ratio = ten[part] / one[part]
        value = f"{ratio:.3f} ({ten[part] / 2**20:.0f} / {one[part] / 2**20:.0f} MiB)"
        figures.append(Figure(f"peak RSS of the {part}, 10 minutes / 1", value, f"<= {MOST}", ratio <= MOST))
    about["frames"] = f"{ten['frames']} and {one['frames']}, in {ten['seconds']} and {one['seconds']} s"
    show(f"memory of a worker, 1080p, decoder {args.decoder}", figures, about, args.write)
    return 0


if __name__ == "__main__":
    sys.exit(main())
