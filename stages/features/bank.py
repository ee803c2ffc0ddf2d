"""The bank: clips drawn from a video before its frames are seen, gathered while they stream by.

For backbones that encode the frames of a clip together, a training on any clips would have to run them anew;
it draws from a bank instead (methods sheet 1.7, b). Imports no torch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np

from stages.decode.frames import FrameChunk
from stages.features.store.samplers import RandomClip
from stages.features.views import BANK, ViewsSpec


def drawn_clips(video: str, count: int, frames: int, spec: ViewsSpec) -> list[Sequence[int]]:
    """Positions of the frames of every clip of a video's bank among its sampled frames (methods sheet 1.4).

    A stride, then a start among those that leave the clip within the video; a video too short for the stride
    is taken from its first frame on, and the last frame that is reached repeats.

    Args:
        video: its id; with ``spec.seed`` and the clip's number all that the draw depends on.
        count: frames that the video is expected to have.
        frames: of a clip.
        spec: how many clips, and their strides.
    """
    pattern = RandomClip(frames, spec.clip_strides, repeat_last=True)
    return [
        pattern.positions(max(count, 1), 0, _draw(f"{spec.seed}\0{video}\0{BANK}\0{clip}"))
        for clip in range(spec.clips)
    ]


def _draw(text: str) -> float:
    """A number in [0, 1) from a text."""
    return (int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 11) / 2**53


class ClipGatherer:
    """Keeps those frames of a stream that clips consist of, and the last one; no more are ever held.

    Args:
        clips: positions of every clip's frames in the stream.
    """

    def __init__(self, clips: Sequence[Sequence[int]]) -> None:
        self._clips = clips
        self._wanted = {position for clip in clips for position in clip}
        self._kept: dict[int, tuple[np.ndarray, float]] = {}
        self._last: tuple[np.ndarray, float] | None = None
        self._seen = 0

    def see(self, batch: FrameChunk) -> None:
        """The next frames of the stream."""
        if not self._clips or not len(batch):
            return
        for i in range(len(batch)):
            if self._seen + i in self._wanted:
                self._kept[self._seen + i] = (batch.rgb[i].copy(), float(batch.pts[i]))
        self._last = (batch.rgb[-1].copy(), float(batch.pts[-1]))
        self._seen += len(batch)

    def chunks(self, clips: int) -> Iterator[FrameChunk]:
        """The clips, ``clips`` of them at a time; frame ``j`` of clip ``r`` has the index ``frames * r + j``.

        Where the stream was shorter than expected its last frame repeats.
        """
        if self._last is None:
            return
        flat = [self._kept.get(position, self._last) for clip in self._clips for position in clip]
        size = clips * len(self._clips[0])
        for start in range(0, len(flat), size):
            found = flat[start : start + size]
            yield FrameChunk(
                np.arange(start, start + len(found)),
                np.array([pts for _, pts in found]),
                np.stack([rgb for rgb, _ in found]),
            )
