"""Segmentation clip by clip: a slot covers all frames of one clip, and tubes go on from clip to clip."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from stages.discovery.contract import MaskKind, Segmentation, VideoFeatures
from stages.merging.clips import link_clips
from stages.outcome import MediaError

MOST_TUBES = 2**15
"""A tube's number is an int16 in label maps."""


@dataclass(frozen=True)
class Grouped:
    """What slots found in B clips of T frames.

    Attributes:
        slots: (B, K, d).
        attention: (B, T, K, N), the slot attention's last pass, a softmax over K.
        masks: (B, T, K, N), the decoder's.
        reconstruction: (B, T, N, D).
    """

    slots: Tensor
    attention: Tensor
    masks: Tensor
    reconstruction: Tensor


Group = Callable[[Tensor, tuple[int, int]], Grouped]
"""Tokens (B, T, N, D) on a grid of rows and columns, to what is found in them."""


@dataclass(frozen=True)
class Cutting:
    """How a video is cut.

    Attributes:
        run: frames that are read together.
        clip: frames that share their slots; it divides ``run``.
        strict: the published rule (methods sheet 1.5.2): a run is kept only where a frame follows it, and
            what is left over has no slots. Else the last run is filled up with its last frame, as a clip of a
            short video is in training, so that every frame has masks and all runs are those that a video
            backbone encodes.
        link_threshold: see `stages.merging.clips`; 0: every clip has tubes of its own.
        kinds: of masks, the published one first.
    """

    run: int
    clip: int
    strict: bool = False
    link_threshold: float = 0.0
    kinds: Sequence[MaskKind] = ("decoder",)

    def runs(self, frames: int) -> list[range]:
        """The frames of every run in a video of ``frames`` ones."""
        runs = [range(start, min(start + self.run, frames)) for start in range(0, frames, self.run)]
        return [run for run in runs if not self.strict or run.start + self.run < frames]


@dataclass
class _Tubes:
    """Numbers the slots of one clip after the other."""

    threshold: float
    count: int = 0
    last: tuple[Tensor, Tensor, Tensor] | None = field(default=None)

    def number(self, slots: Tensor, alive: Tensor, hard: Tensor) -> Tensor:
        """The tubes (K,) of a clip's slots (K, d), -1 where not alive (K,); hard bool (T, K, N)."""
        mine = torch.full(alive.shape, -1)
        chosen = slots[alive].numpy()
        found = torch.full((len(chosen),), -1)
        if self.threshold and self.last is not None:
            tubes, vectors, masks = self.last
            partner = link_clips(
                (vectors.numpy(), masks.numpy()), (chosen, hard[0, alive].numpy()), self.threshold
            )
            linked = torch.from_numpy(partner)
            found = torch.where(linked >= 0, tubes[linked.clamp_min(0)], -1)
        new = found < 0
        found[new] = torch.arange(self.count, self.count + int(new.sum()))
        self.count += int(new.sum())
        self.last = (found, slots[alive], hard[-1, alive])
        mine[alive] = found
        return mine


def segment_clips(group: Group, video: VideoFeatures, facet: str, cutting: Cutting) -> Segmentation:
    """A whole video, one run after the other.

    Slots that win no patch of their clip vanish (methods sheet 1.5.4). Memory holds one run's features.

    Raises:
        MediaError: ``tubes``: there are more of them than can be numbered.
    """
    shape, parts = video.shape, []
    tubes = _Tubes(cutting.link_threshold)
    for run in cutting.runs(video.frames):
        tokens = video.read(run.start, run.stop, facet)
        missing = -len(run) % cutting.clip
        tokens = torch.cat([tokens, tokens[-1:].expand(missing, -1, -1)])
        found = group(tokens.unflatten(0, (-1, cutting.clip)), (shape.rows, shape.columns))
        parts += _clips(found, len(run), cutting, tubes)
        if tubes.count > MOST_TUBES:
            raise MediaError(
                "tubes",
                f"{video.video}: more than {MOST_TUBES} tubes by frame {run.stop} of {video.frames}, which "
                "can't be numbered: link tubes more readily (a smaller link_threshold above 0), take fewer "
                "slots, or cut it into segments (data.segment_frames)",
            )
    return _joined(parts, video, cutting)


def _clips(
    found: Grouped, frames: int, cutting: Cutting, tubes: _Tubes
) -> list[tuple[dict[MaskKind, Tensor], Tensor, Tensor, Tensor]]:
    """Masks by kind (T, K, N), activity and tubes (T, K) and slots (T, K, d) of every clip, on the CPU.

    Args:
        frames: how many of all clips' frames exist; what fills the last clip up is left out.
    """
    kinds = {"decoder": found.masks, "attention": found.attention}
    parts = []
    for number, slots in enumerate(found.slots.float().cpu()):
        length = min(frames - number * cutting.clip, cutting.clip)
        masks = {kind: kinds[kind][number, :length].float().cpu() for kind in cutting.kinds}
        first = masks[cutting.kinds[0]]
        winner = first.argmax(dim=1, keepdim=True)
        hard = winner == torch.arange(first.shape[1])[:, None]
        alive = hard.any(dim=2).any(dim=0)
        identity = tubes.number(slots, alive, hard)
        masks = {kind: mask * alive[:, None] for kind, mask in masks.items()}
        parts.append(
            (masks, alive.expand(length, -1), identity.expand(length, -1), slots.expand(length, -1, -1))
        )
    return parts


def _joined(
    parts: list[tuple[dict[MaskKind, Tensor], Tensor, Tensor, Tensor]], video: VideoFeatures, cutting: Cutting
) -> Segmentation:
    """All clips as one segmentation; frames behind the last clip have no active slots."""
    rows, columns = video.shape.rows, video.shape.columns
    if not parts:
        none = {kind: torch.zeros(video.frames, 1, rows, columns) for kind in cutting.kinds}
        inactive = torch.zeros(video.frames, 1, dtype=torch.bool)
        return Segmentation(none, inactive, torch.full((video.frames, 1), -1))
    left = video.frames - sum(len(part[1]) for part in parts)

    def join(pieces: list[Tensor], filling: float = 0) -> Tensor:
        whole = torch.cat(pieces)
        return torch.cat([whole, whole.new_full((left, *whole.shape[1:]), filling)])

    masks = {
        kind: join([part[0][kind] for part in parts]).unflatten(2, (rows, columns)) for kind in cutting.kinds
    }
    active, identity = join([part[1] for part in parts]), join([part[2] for part in parts], -1)
    return Segmentation(masks, active, identity, join([part[3] for part in parts]))
