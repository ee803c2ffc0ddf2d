"""Batches of cached clips, read ahead of the training by a thread."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Sequence

import torch

from stages.artifacts.manifest import DamagedError
from stages.discovery.contract import Batch, FeatureShape
from stages.errors import SettingsError
from stages.features.store.reader import CorruptShardError, FeatureStore
from stages.features.store.samplers import Clip, ClipSampler, load
from stages.learning.batches import BatchOrder, Grids

Stream = tuple[str, str]
"""``(view, facet)``; a view such as ``crop0|crop1`` is one of those, by lot for every video and epoch."""

_AHEAD = 3


def feature_shape(
    store: FeatureStore, videos: Sequence[str], grids: Grids, facet: str, any_grid: bool = False
) -> FeatureShape:
    """The shape that all videos share; with ``any_grid`` that of the first, whose width they share.

    Raises:
        SettingsError: there is no video, or two have different grids or widths; names both.
    """
    if not len(videos):
        raise SettingsError(
            "no video is left to train on: all were rejected, skipped, held out or excluded; see --explain"
            " and rejects/, or give more data"
        )
    first = videos[0]
    shape = FeatureShape(*grids[first], store.shape(first, facet)[-1])
    for video in videos:
        other = FeatureShape(*grids[video], store.shape(video, facet)[-1])
        if other.width != shape.width or (other != shape and not any_grid):
            raise SettingsError(
                f"videos {first} and {video} have different grids of patch tokens ({_size(shape)} and"
                f" {_size(other)}): set decode.size=[h,w], or use a method that takes any grid (vol)"
            )
    return shape


def _size(shape: FeatureShape) -> str:
    return f"{shape.rows} x {shape.columns} x {shape.width}"


def drawn(view: str, clip: Clip) -> str:
    """The view that is read of ``clip`` where ``view`` leaves it to chance; see `Stream`."""
    views = view.split("|")
    return views[int(clip.draw * len(views))]


class ClipLoader:
    """Endless batches from a sampler's epochs, one after the other.

    The epochs are cut into batches as if there were one process; of each batch every process takes its part.
    So the clips of a step are the same for any ``world``, and a checkpoint of one serves another.

    Args:
        store: the features.
        sampler: which clips, of all processes together; its epoch and step are set from ``seen``.
        streams: what is read of each clip.
        shape: of the patch tokens; with ``grids`` only its width counts.
        batch: clips per step, over all processes together.
        seen: clips that all processes together have consumed before.
        device: where batches go.
        rank: number of this process among ``world`` ones.
        world: how many processes share a batch; it divides ``batch``.
        grids: of the sampler's videos; where they differ, every batch has one, see `BatchOrder`.
    """

    def __init__(
        self,
        store: FeatureStore,
        sampler: ClipSampler,
        streams: Sequence[Stream],
        shape: FeatureShape,
        batch: int,
        seen: int = 0,
        device: str = "cpu",
        rank: int = 0,
        world: int = 1,
        grids: Grids | None = None,
    ) -> None:
        self._store, self._streams = store, tuple(streams)
        self._order = BatchOrder(sampler, batch, grids)
        self._shape, self._grids, self._device = shape, grids, device
        self._seen, self._rank, self._world = seen, rank, world
        self._ready: queue.Queue[Batch | BaseException] = queue.Queue(_AHEAD)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._fill, name="clip-loader", daemon=True)
        self._thread.start()
        self.waited = 0.0
        """Seconds spent waiting in `next`."""

    def next(self) -> Batch:
        """The next batch.

        Raises:
            DamagedError: features have been altered since they were stored; names shard, video and remedy.
            FileNotFoundError: they have been removed.
        """
        began = time.perf_counter()
        found = self._ready.get()
        self.waited += time.perf_counter() - began
        if isinstance(found, CorruptShardError):
            raise DamagedError(str(found)) from found
        if isinstance(found, BaseException):
            raise found
        return found

    def close(self) -> None:
        """End the thread."""
        self._stopped.set()
        while self._thread.is_alive():
            try:
                self._ready.get_nowait()
            except queue.Empty:
                self._thread.join(0.05)

    def _fill(self) -> None:
        try:
            for clips in self._order.batches(self._seen):
                if self._stopped.is_set():
                    return
                self._ready.put(self._load(clips[self._rank :: self._world]))
        except BaseException as error:  # noqa: BLE001 - raised again in the training's own thread
            self._ready.put(error)

    def _load(self, clips: Sequence[Clip]) -> Batch:
        features = {
            (view, facet): torch.stack(
                [load(self._store, clip, facet, drawn(view, clip))[0] for clip in clips]
            )
            .to(self._device)
            .float()
            for view, facet in self._streams
        }
        available = torch.tensor([clip.mask for clip in clips], device=self._device)
        shape = self._shape
        if self._grids is not None:
            shape = FeatureShape(*self._grids[clips[0].video], shape.width)
        return Batch(features, available, shape, tuple(clip.video for clip in clips))
