"""Segmentation without training: `stages.discovery.baselines` put to work."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping

import numpy as np
import torch
from sklearn.cluster import KMeans, SpectralClustering
from torch import Tensor, nn

from stages.discovery.baselines import (
    BlocksMethod,
    CentreBoxMethod,
    KMeansMethod,
    SpectralMethod,
    TrainingFree,
)
from stages.discovery.blocks.grid import coordinates
from stages.discovery.contract import FeatureShape, Segmentation, VideoFeatures
from stages.merging.linking import link

_FRAMES_AT_ONCE = 32


class Clustering:
    """See `stages.discovery.contract.Implementation`; only `segment` has anything to do.

    Args:
        method: one of the training-free methods.
    """

    def __init__(self, method: TrainingFree) -> None:
        self.method = method

    def model(self, fit: str, shape: FeatureShape, done: Mapping[str, nn.Module]) -> nn.Module:
        """Refused."""
        raise ValueError(f"method {self.method.name} has nothing to train")

    def optimiser(self, fit: str, model: nn.Module, rate: float) -> torch.optim.Optimizer:
        """Refused."""
        raise ValueError(f"method {self.method.name} has nothing to train")

    def schedule(self, fit: str, step: int, steps: int) -> float:
        """Refused."""
        raise ValueError(f"method {self.method.name} has nothing to train")

    def segment(self, models: Mapping[str, nn.Module], video: VideoFeatures) -> Segmentation:
        """Hard masks, one tube per cluster."""
        labels = _LABELLERS.get(type(self.method), _one)(self.method, video)
        return from_labels(labels, video.shape.rows, video.shape.columns)


def from_labels(labels: np.ndarray, rows: int, columns: int) -> Segmentation:
    """A segmentation from cluster numbers int (T, N), each number a tube."""
    hard = torch.nn.functional.one_hot(torch.from_numpy(labels.astype(np.int64)))  # (T, N, K)
    masks = hard.permute(0, 2, 1).unflatten(2, (rows, columns)).float()
    active = masks.flatten(2).any(dim=2)
    identity = torch.where(active, torch.arange(masks.shape[1]).expand(active.shape), -1)
    return Segmentation({"cluster": masks}, active, identity)


def _one(method: TrainingFree, video: VideoFeatures) -> np.ndarray:
    return np.zeros((video.frames, video.shape.tokens), np.int64)


def _centre(method: TrainingFree, video: VideoFeatures) -> np.ndarray:
    assert isinstance(method, CentreBoxMethod)
    rows, columns = video.shape.rows, video.shape.columns
    y, x = np.divmod(np.arange(video.shape.tokens), columns)
    off = np.maximum(abs((y + 0.5) / rows - 0.5), abs((x + 0.5) / columns - 0.5))
    return np.tile((off <= method.share / 2).astype(np.int64), (video.frames, 1))


def _blocks(method: TrainingFree, video: VideoFeatures) -> np.ndarray:
    assert isinstance(method, BlocksMethod)
    rows, columns = video.shape.rows, video.shape.columns
    bands = max(round((method.clusters * rows / columns) ** 0.5), 1)
    bounds = [band * method.clusters // bands for band in range(bands + 1)]
    y, x = np.divmod(np.arange(video.shape.tokens), columns)
    band = y * bands // rows
    first, across = np.take(bounds, band), np.take(np.diff(bounds), band)
    return np.tile(first + x * across // columns, (video.frames, 1))


def _kmeans(method: TrainingFree, video: VideoFeatures) -> np.ndarray:
    assert isinstance(method, KMeansMethod)
    xy = coordinates(video.shape.rows, video.shape.columns) * method.position

    def prepared(tokens: Tensor) -> np.ndarray:
        if method.cosine:
            tokens = torch.nn.functional.normalize(tokens, dim=-1)
        if method.position:
            tokens = torch.cat([tokens, xy.expand(len(tokens), -1, -1)], dim=-1)
        flat: np.ndarray = tokens.flatten(0, 1).numpy()
        return flat

    sample = _sampled(video, method.facet, method.sample, method.seed, prepared)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # fewer distinct tokens than clusters: fewer tubes
        model = KMeans(min(method.clusters, len(sample)), n_init=3, random_state=method.seed).fit(sample)
    parts = [model.predict(prepared(part)) for part in _parts(video, method.facet)]
    return np.concatenate(parts).reshape(video.frames, video.shape.tokens).astype(np.int64)


def _parts(video: VideoFeatures, facet: str) -> list[Tensor]:
    starts = range(0, video.frames, _FRAMES_AT_ONCE)
    return [video.read(s, min(s + _FRAMES_AT_ONCE, video.frames), facet).cpu() for s in starts]


def _sampled(
    video: VideoFeatures, facet: str, most: int, seed: int, prepared: Callable[[Tensor], np.ndarray]
) -> np.ndarray:
    """At most ``most`` tokens of the video, spread over all its frames."""
    share = min(most / (video.frames * video.shape.tokens), 1.0)
    random = np.random.Generator(np.random.PCG64(seed))
    rows = []
    for part in _parts(video, facet):
        tokens = prepared(part)
        count = max(round(share * len(tokens)), 1)
        rows.append(tokens if share == 1.0 else tokens[random.permutation(len(tokens))[:count]])
    return np.concatenate(rows)


def _spectral(method: TrainingFree, video: VideoFeatures) -> np.ndarray:
    assert isinstance(method, SpectralMethod)
    clusters = method.count + method.background if method.count else method.clusters
    clusters = min(clusters, video.shape.tokens - 1)
    frames, means = [], []
    for part in _parts(video, method.facet):
        for tokens in part.numpy():
            labels = _spectral_frame(tokens, clusters, method.seed)
            frames.append(labels)
            means.append(np.stack([tokens[labels == c].mean(axis=0) for c in range(labels.max() + 1)]))
    linked = link(means)
    return np.stack([names[labels] for names, labels in zip(linked, frames, strict=True)])


def _spectral_frame(tokens: np.ndarray, clusters: int, seed: int) -> np.ndarray:
    """Labels (N,) without gaps; one cluster needs no clustering."""
    if clusters < 2:
        return np.zeros(len(tokens), np.int64)
    unit = tokens / np.maximum(np.linalg.norm(tokens, axis=1, keepdims=True), 1e-8)
    affinity = np.maximum(unit @ unit.T, 0.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an affinity graph in several pieces is clustered all the same
        model = SpectralClustering(clusters, affinity="precomputed", random_state=seed)
        labels = model.fit_predict(affinity)
    dense: np.ndarray = np.unique(labels, return_inverse=True)[1]
    return dense


_LABELLERS: dict[type, Callable[[TrainingFree, VideoFeatures], np.ndarray]] = {
    CentreBoxMethod: _centre,
    BlocksMethod: _blocks,
    KMeansMethod: _kmeans,
    SpectralMethod: _spectral,
}
