"""Batches of clips decoded while the model trains: nothing is stored, and what can't be decoded is passed
over.
"""

from __future__ import annotations

import json
import queue
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from stages.artifacts import atomic
from stages.artifacts import place as stores
from stages.catalog.content import refuse_changed
from stages.catalog.ids import path_of
from stages.decode.classify import media_error
from stages.decode.client import DecoderClient
from stages.decode.spec import DecodeRequest, Geometry
from stages.discovery.contract import Batch, FeatureShape
from stages.errors import SettingsError
from stages.outcome import MediaError
from stages.pretraining.crops import crop_of, cropped
from stages.stage import MemoryAttempts, Row, WorkContext

if TYPE_CHECKING:
    from stages.pretraining.pretrain_stage import PretrainStage

CLIPS = ("base", "pixels")
"""Where a batch has its clips."""
TRIES = 100
_BATCHES_AHEAD = 2


class Place(NamedTuple):
    """The clip at a place of the training's endless sequence."""

    epoch: int
    number: int
    attempt: int
    """Clips of that place that could not be decoded before."""


@dataclass(frozen=True)
class Rejects:
    """What could not be decoded, one line of JSON per clip in a file that survives a killed run."""

    path: stores.Place
    _lock: Lock

    @classmethod
    def at(cls, path: stores.Place) -> Rejects:
        """The file ``path``, made if it is not there."""
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic.create(path, b"")
        return cls(path, Lock())

    def add(self, position: int, attempt: int, video: str, error: MediaError) -> None:
        """Note a clip, by its place in the sequence."""
        line = json.dumps([position, attempt, video, error.error_class, error.message])
        with self._lock:
            if isinstance(self.path, Path):
                with self.path.open("a") as file:
                    file.write("\n" + line)
            else:  # an object can't be appended to; there are few of these lines
                self.path.put(self.path.read_bytes() + b"\n" + line.encode())

    def read(self, before: int) -> list[tuple[str, str, str]]:
        """``(video, error class, message)`` of every clip whose place is below ``before``, each once."""
        found = {}
        for line in self.path.read_text().splitlines():
            try:
                position, attempt, *reason = json.loads(line)
            except ValueError:  # empty, or cut off when a run was killed
                continue
            if position < before:
                found[position, attempt] = tuple(reason)
        return [found[key] for key in sorted(found)]


class StreamLoader:
    """Endless batches of clips; see `stages.learning.loop.Loader`.

    Every video gives one clip an epoch, from a random frame and cropped at random. Which one stands where
    depends on ``train.seed`` and its place in the sequence alone. If it can't be decoded, a clip of a video
    drawn at random takes its place, so that a training that goes on from a checkpoint sees what an
    undisturbed one does.

    Args:
        stage: model, clips, batch and seed.
        rows: of the catalog, one per video.
        context: where the videos are, limits, and the number of decoders.
        rejects: takes what can't be decoded.
        seen: clips that all processes together have consumed before.
        device: where batches go.
        rank: number of this process among ``world`` ones that share every batch.
        world: how many they are.
    """

    def __init__(
        self,
        stage: PretrainStage,
        rows: Sequence[Row],
        context: WorkContext,
        rejects: Rejects,
        seen: int = 0,
        device: str = "cpu",
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self._stage, self._rows, self._rejects = stage, rows, rejects
        self._root, self._device = context.data_root, device
        side = stage.pretrain.size // stage.pretrain.known.patch
        self._shape = FeatureShape(side, side, 3 * stage.pretrain.known.patch**2)
        self._mine = stage.train.batch // world
        self._next, self._step = seen + rank, world
        self._clients: queue.SimpleQueue[DecoderClient] = queue.SimpleQueue()
        self._all = [DecoderClient(context.limits) for _ in range(context.decoders)]
        for client in self._all:
            self._clients.put(client)
        self._pool = ThreadPoolExecutor(context.decoders, "clip-stream")
        self._ahead: deque[Future[tuple[str, Tensor]]] = deque()
        self.waited = 0.0
        """Seconds spent waiting in `next`."""

    def next(self) -> Batch:
        """The next batch: ``features[CLIPS]`` float32 (B, T, H * W, 3), values 0 to 255.

        Raises:
            SettingsError: no clip can be decoded any more.
        """
        began = time.perf_counter()
        while len(self._ahead) < (1 + _BATCHES_AHEAD) * self._mine:
            self._ahead.append(self._pool.submit(self._clip, self._next))
            self._next += self._step
        clips = [self._ahead.popleft().result() for _ in range(self._mine)]
        self.waited += time.perf_counter() - began
        pixels = torch.stack([clip.flatten(1, 2) for _, clip in clips]).to(self._device).float()
        available = torch.ones(pixels.shape[:2], dtype=torch.bool, device=self._device)
        return Batch({CLIPS: pixels}, available, self._shape, tuple(video for video, _ in clips))

    def close(self) -> None:
        """End threads and decoders; waits for clips that are being decoded."""
        self._pool.shutdown(cancel_futures=True)
        for client in self._all:
            client.close()

    def _clip(self, position: int) -> tuple[str, Tensor]:
        """The video and the clip at ``position`` of the sequence; uint8 (T, size, size, 3)."""
        epoch, number = divmod(position, len(self._rows))
        for attempt in range(TRIES):
            draws = np.random.Generator(np.random.PCG64([self._stage.train.seed, epoch, number, attempt]))
            row = self._row(Place(epoch, number, attempt), draws)
            try:
                return row["video"], self._decoded(row, draws)
            except MediaError as error:
                self._rejects.add(position, attempt, row["video"], error)
        raise SettingsError(
            f"{TRIES} clips in a row could not be decoded, the last of video {row['video']}: see "
            f"{self._rejects.path} and give other data"
        )

    def _row(self, place: Place, draws: np.random.Generator) -> Row:
        """The video of a clip: the epoch's next one, or any in place of one that could not be decoded."""
        if place.attempt:
            return self._rows[int(draws.integers(len(self._rows)))]
        order = _order(self._stage.train.seed, place.epoch, len(self._rows))
        return self._rows[int(order[place.number])]

    def _decoded(self, row: Row, draws: np.random.Generator) -> Tensor:
        """A clip of ``row``; where the video is too short its last frame repeats.

        Raises:
            MediaError: it can't be decoded.
        """
        spec = self._stage.pretrain
        start, frames = _span(row, spec.frames, spec.stride, draws)
        refuse_changed(self._root, row)
        request = DecodeRequest(
            row["video"], path_of(self._root, row["uri"]), start, frames, row["fps"], self._stage.decode,
            Geometry(spec.short_side), chunk=spec.frames,
        )  # fmt: skip
        client = self._clients.get()
        try:
            chunks = [chunk.rgb for chunk in next(iter(client.decode([request], MemoryAttempts())))]
        finally:
            self._clients.put(client)
        if not chunks:
            raise media_error(request.path, "no_frames", f"has no frame from {start} on: list it again")
        rgb = np.concatenate(chunks)
        rgb = rgb[np.minimum(np.arange(spec.frames), len(rgb) - 1)]
        box = crop_of((rgb.shape[1], rgb.shape[2]), spec.crop_scales, draws)
        return cropped(rgb, box, spec.size)


def _span(row: Row, frames: int, stride: int, draws: np.random.Generator) -> tuple[int, int]:
    """First source frame and number of source frames of a random clip; it starts at a multiple of
    ``stride``.
    """
    first = -(-row["start"] // stride) * stride
    end = row["start"] + row["frames"]
    count = max(-(-(end - first) // stride), 1)
    start = first + int(draws.integers(max(count - frames, 0) + 1)) * stride
    return start, max(min((frames - 1) * stride + 1, end - start), 1)


@lru_cache(maxsize=2)
def _order(seed: int, epoch: int, count: int) -> np.ndarray[Any, Any]:
    """The order of the videos in an epoch, which every clip of it asks for."""
    return np.random.Generator(np.random.PCG64([seed, epoch])).permutation(count)
