"""The features of one video as a method's `segment` reads them: from the shard that holds them, when
asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from stages.artifacts.layout import Artifact
from stages.artifacts.manifest import DamagedError
from stages.discovery.contract import FeatureShape
from stages.features.store.shard_features import ShardFeatures

if TYPE_CHECKING:
    from torch import Tensor


class CachedVideo:
    """See `stages.discovery.contract.VideoFeatures`.

    Args:
        features: the shard that holds the video.
        video: its id.
        grid: rows and columns of its patches.
        device: where tensors go.
    """

    def __init__(
        self, features: ShardFeatures, video: str, grid: tuple[int, int], device: str = "cpu"
    ) -> None:
        self.video = video
        self._features, self._device = features, device
        self.frames, tokens, width = features.shape(video)
        if tokens != grid[0] * grid[1]:
            raise ValueError(f"video {video} has {tokens} patch tokens on a grid of {grid[0]} x {grid[1]}")
        self.shape = FeatureShape(*grid, width)

    def read(
        self, start: int = 0, stop: int | None = None, facet: str = "tokens", view: str = "base"
    ) -> Tensor:
        """Frames ``start`` to ``stop``, float32 (T, N, D), on the device.

        Raises:
            DamagedError: a value is no number; none is ever stored, and masks of such features look like
            any others.
        """
        import torch

        values = self._features.array(self.video, start, stop, facet, view)
        if not np.isfinite(values).all():
            raise DamagedError(
                f"features of video {self.video} ({view}/{facet}) hold values that are no finite numbers, "
                "although none are ever stored; run the recipe of the features with --verify --repair"
            )
        return torch.from_numpy(values).to(self._device, torch.float32)


@lru_cache(maxsize=2)
def shard_features(folder: str, shard: str) -> ShardFeatures:
    """The features of a committed shard of the artifact in ``folder``; the last two stay open."""
    return ShardFeatures(Artifact.at(folder), shard)


def frame_layout(info: Mapping[str, Any]) -> tuple[tuple[int, int], tuple[int, int, int, int]]:
    """Height and width of the upright picture, and the borders cut off it (top, bottom, left, right)."""
    height, width = info["native"]
    top, bottom, left, right = info["borders"]
    return (int(height), int(width)), (int(top), int(bottom), int(left), int(right))
