"""Which clips an epoch consists of: deterministic, resumable, and aware of where a video ends."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from stages.features.store.schema import BASE_VIEW

if TYPE_CHECKING:
    import torch

    from stages.features.store.reader import FeatureStore


@dataclass(frozen=True)
class Clip:
    """Frames of one video.

    Attributes:
        video: id of the video.
        positions: among the video's stored frames; those outside of 0..n-1 do not exist.
        mask: which of them exist.
        draw: a random number in [0, 1), one per video and epoch.
    """

    video: str
    positions: tuple[int, ...]
    mask: tuple[bool, ...]
    draw: float = field(default=0.0, compare=False)


class Pattern(Protocol):
    """How clips are cut from a video of ``count`` frames."""

    def clips(self, count: int) -> int:
        """How many clips of such a video an epoch holds."""

    def positions(self, count: int, number: int, draw: float) -> Sequence[int]:
        """The ``number``-th of them; ``draw`` is a random number in [0, 1), one per video and epoch."""


@dataclass(frozen=True)
class WholeVideo:
    """Every video once, with all its frames."""

    def clips(self, count: int) -> int:
        """See `Pattern.clips`."""
        return 1

    def positions(self, count: int, number: int, draw: float) -> range:
        """See `Pattern.positions`."""
        return range(count)


@dataclass(frozen=True)
class RandomClip:
    """Every video ``clips_per_video`` times per epoch, with ``frames`` frames from a random start.

    The clip lies within the video where it fits; a shorter video is taken from its first frame on. Clips of
    one video follow each other in an epoch, so that a batch of as many clips is one of a single video (VOL,
    methods sheet 1.4).

    Attributes:
        frames: of a clip.
        stride: frames from one to the next; of several, one is drawn for every clip.
        clips_per_video: clips of a video in an epoch, drawn independently.
        repeat_last: where a video is too short, repeat the last frame that is reached instead of leaving it.
    """

    frames: int
    stride: int | tuple[int, ...] = 1
    clips_per_video: int = 1
    repeat_last: bool = False

    def __post_init__(self) -> None:
        _check_positive(self, "frames", "stride", "clips_per_video")

    def clips(self, count: int) -> int:
        """See `Pattern.clips`."""
        return self.clips_per_video

    def positions(self, count: int, number: int, draw: float) -> Sequence[int]:
        """See `Pattern.positions`."""
        if number:  # a draw of its own for every further clip of the video
            draw = np.random.Generator(np.random.PCG64([int(draw * 2**53), number])).random()
        strides = (self.stride,) if isinstance(self.stride, int) else self.stride
        choice, draw = divmod(draw * len(strides), 1.0)
        stride = strides[int(choice)]
        starts = max(count - (self.frames - 1) * stride, 1)
        window = _window(int(draw * starts), self.frames, stride)
        if not self.repeat_last or window[-1] < count:
            return window
        last = (count - 1) // stride * stride  # such a clip starts at frame 0
        return tuple(min(position, last) for position in window)


@dataclass(frozen=True)
class BankClip:
    """Clips of a video's bank (the view ``bank``), ``clips_per_video`` of them in an epoch: never parts of
    two.

    They are different ones as long as the bank has enough, drawn anew for every epoch.

    Attributes:
        frames: of every clip in the bank.
        clips_per_video: clips of a video in an epoch, one after the other.
    """

    frames: int
    clips_per_video: int = 1

    def __post_init__(self) -> None:
        _check_positive(self, "frames", "clips_per_video")

    def clips(self, count: int) -> int:
        """See `Pattern.clips`."""
        return self.clips_per_video

    def positions(self, count: int, number: int, draw: float) -> range:
        """See `Pattern.positions`; ``count`` are the frames of all clips together.

        Raises:
            ValueError: they are no whole clips.
        """
        clips, rest = divmod(count, self.frames)
        if rest or not clips:
            raise ValueError(f"a bank of {count} frames holds no whole clips of {self.frames}")
        order = np.random.Generator(np.random.PCG64(int(draw * 2**53))).permutation(clips)
        return _window(int(order[number % clips]) * self.frames, self.frames, 1)


@dataclass(frozen=True)
class Windows:
    """All windows of ``frames`` frames, ``stride`` apart, whose starts are ``hop`` frames apart.

    From the first frame on until every frame up to the last is reached; only the last window, or the only one
    of a short video, may leave the video. With ``centred`` there is one window around every ``hop``-th frame,
    which leaves the video at both ends (SOLV's windows).
    """

    frames: int
    stride: int = 1
    hop: int = 1
    centred: bool = False

    def __post_init__(self) -> None:
        _check_positive(self, "frames", "stride", "hop")

    def clips(self, count: int) -> int:
        """See `Pattern.clips`."""
        if self.centred:
            return -(-count // self.hop)
        span = (self.frames - 1) * self.stride + 1
        return 1 + -(-max(count - span, 0) // self.hop)

    def positions(self, count: int, number: int, draw: float) -> range:
        """See `Pattern.positions`."""
        before = self.frames // 2 * self.stride if self.centred else 0
        return _window(number * self.hop - before, self.frames, self.stride)


class ClipSampler:
    """The clips of an epoch, in an order that depends on ``seed`` and the epoch alone.

    Its state counts the clips that were *consumed*: a loader's workers run ahead of the training loop, so the
    loop calls `advance` after each step and stores `state_dict` in its checkpoint. Iterating yields what is
    left of the current epoch and changes nothing.

    Args:
        store: where the videos are.
        pattern: `RandomClip`, `BankClip`, `Windows`, `WholeVideo` or another `Pattern`.
        seed: of order and starts.
        shuffle: whether the order is random; else videos and windows rise.
        videos: a part of the store's videos; default: all.
        rank: number of this process among ``world`` ones that share the epoch.
        view: the view whose frames are counted; only ``bank`` has other ones.
        world: with ``shuffle`` all processes get equally many clips, and an uneven rest is left out of the
            epoch; without, every clip is visited once.

    Raises:
        KeyError: if the store lacks one of ``videos``.
    """

    def __init__(
        self,
        store: FeatureStore,
        pattern: Pattern,
        seed: int = 0,
        shuffle: bool = True,
        videos: Sequence[str] | None = None,
        rank: int = 0,
        world: int = 1,
        view: str = BASE_VIEW,
    ) -> None:
        self._videos = store.videos if videos is None else list(videos)
        if videos is None:
            self._counts = store.counts(view)
        else:
            self._counts = np.array([store.count(v, view) for v in videos], int)
        self._pattern = pattern
        self._ends = np.cumsum([pattern.clips(int(n)) for n in self._counts], dtype=np.int64)
        self._shuffle = shuffle
        self._rank, self._world = rank, world
        self.seed, self.epoch, self.step = seed, 0, 0

    def __len__(self) -> int:
        """Clips per epoch and process."""
        total = int(self._ends[-1]) if len(self._ends) else 0
        if self._shuffle:
            return total // self._world
        return len(range(self._rank, total, self._world))

    def __iter__(self) -> Iterator[Clip]:
        order, draws = self._order(self.epoch)
        for i in range(self.step, len(self)):
            yield self._clip(int(order[self._rank + i * self._world]), draws)

    def clips_by_video(self) -> Iterator[tuple[str, int]]:
        """Every video with its clips in an epoch of all processes together."""
        return zip(self._videos, np.diff(self._ends, prepend=0).tolist(), strict=True)

    def advance(self, clips: int) -> None:
        """Count ``clips`` more of this process as consumed; past the epoch's end the next one begins."""
        self.step += clips
        if self.step >= len(self):
            self.epoch, self.step = self.epoch + 1, 0

    def state_dict(self) -> dict[str, int]:
        """What resuming needs: ``seed``, ``epoch`` and ``step``."""
        return {"seed": self.seed, "epoch": self.epoch, "step": self.step}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on where `state_dict` was taken."""
        self.seed, self.epoch, self.step = state["seed"], state["epoch"], state["step"]

    def _order(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """The numbers of all clips in the epoch's order, and a draw per video."""
        random = np.random.Generator(np.random.PCG64([self.seed, epoch]))
        draws = random.random(len(self._counts))
        total = int(self._ends[-1]) if len(self._ends) else 0
        if not self._shuffle:
            return np.arange(total), draws
        together = self._pattern.clips_per_video if isinstance(self._pattern, (RandomClip, BankClip)) else 1
        firsts = random.permutation(total // together) * together
        return (firsts[:, None] + np.arange(together)).ravel(), draws

    def _clip(self, number: int, draws: np.ndarray) -> Clip:
        which = int(np.searchsorted(self._ends, number, side="right"))
        count = int(self._counts[which])
        first = int(self._ends[which - 1]) if which else 0
        draw = float(draws[which])
        positions = self._pattern.positions(count, number - first, draw)
        return Clip(self._videos[which], tuple(positions), tuple(0 <= p < count for p in positions), draw)


class ClipDataset:
    """Maps clips to tensors, for a `DataLoader` whose sampler is a `ClipSampler`.

    Indexing with a `Clip` gives a dict: ``video``, ``positions`` int64 (T,), ``mask`` bool (T,), and under
    the name of each facet its features, float16 (T, N, D), zero where the mask is false.
    """

    def __init__(
        self, store: FeatureStore, facets: Sequence[str] = ("tokens",), view: str = BASE_VIEW
    ) -> None:
        self.store = store
        self.facets = tuple(facets)
        self.view = view

    def __getitem__(self, clip: Clip) -> dict[str, Any]:
        import torch

        item: dict[str, Any] = {facet: load(self.store, clip, facet, self.view)[0] for facet in self.facets}
        positions, mask = torch.tensor(clip.positions), torch.tensor(clip.mask)
        return {"video": clip.video, "positions": positions, "mask": mask, **item}


def load(
    store: FeatureStore, clip: Clip, facet: str = "tokens", view: str = BASE_VIEW
) -> tuple[torch.Tensor, torch.Tensor]:
    """Features float16 (T, N, D), zero where ``clip`` leaves the video, and the mask bool (T,) of the others.

    Raises:
        KeyError, CorruptShardError: see `FeatureStore.clip`.
    """
    import torch

    mask = torch.tensor(clip.mask)
    inside = [p for p, there in zip(clip.positions, clip.mask, strict=True) if there]
    found = store.clip(clip.video, inside, facet, view)
    if len(inside) == len(clip.mask):
        return found, mask
    features = torch.zeros((len(clip.mask), *found.shape[1:]), dtype=found.dtype)
    features[mask] = found
    return features, mask


def _window(start: int, frames: int, stride: int) -> range:
    return range(start, start + frames * stride, stride)


def _check_positive(pattern: object, *names: str) -> None:
    for name in names:
        value = getattr(pattern, name)
        if np.size(value) == 0 or np.min(value) < 1:
            raise ValueError(f"{name} of {type(pattern).__name__} is {value}, must be positive")
