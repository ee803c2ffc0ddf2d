"""Real video files for tests, written with PyAV."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np


def make_video(
    path: Path, frames: int = 10, size: tuple[int, int] = (48, 64), fps: int = 10, seed: int = 0
) -> Path:
    """A real H.264 file: noise blobs drifting over a gradient; other seeds give other pictures."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    height, width = size
    base = rng.integers(0, 255, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
    picture = np.kron(base, np.ones((8, 8, 1), np.uint8))[:height, :width]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options={"crf": "18", "threads": "1"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for index in range(frames):
            shown = np.roll(picture, (index, 2 * index), axis=(0, 1))
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(shown), format="rgb24")
            frame.pts = index
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def make_corpus(folder: Path, count: int, frames: int = 10, **options: object) -> Path:
    """``count`` small videos ``clip_00.mp4`` and on in ``folder``."""
    for index in range(count):
        make_video(folder / f"clip_{index:02d}.mp4", frames, seed=index, **options)  # type: ignore[arg-type]
    return folder
