import collections

import numpy as np
import pytest
import torch

from stages.errors import SettingsError
from stages.features.photometric import change
from stages.features.views import MOST_PATCHES, Photometry, ViewsSpec, kept_patches, see

ALL = ViewsSpec(flip=True, photometric=3, seed=7)


@pytest.fixture
def frames():
    return np.random.default_rng(0).integers(0, 256, (4, 30, 52, 3), dtype=np.uint8)


def test_names():
    assert ViewsSpec().names() == ("base",)
    assert ViewsSpec(masked=1, clips=2).names() == ("base", "mask0", "bank")
    assert ALL.names() == ("base", "flip", "photo0", "photo1", "photo2")
    with pytest.raises(SettingsError):
        ViewsSpec(photometric=-1)
    with pytest.raises(ValueError, match="photo3"):
        see(np.zeros((1, 8, 8, 3), np.uint8), "v", "photo3", ALL)


def test_base_and_flip(frames):
    assert see(frames, "v", "base", ALL) is frames
    assert np.array_equal(see(frames, "v", "flip", ALL), frames[:, :, ::-1])


def test_parameters_depend_on_video_view_and_seed_alone():
    drawn = Photometry.draw("video", "photo0", 1)
    np.random.seed(1)
    torch.manual_seed(1)
    assert Photometry.draw("video", "photo0", 1) == drawn
    others = {Photometry.draw(v, w, s) for v in ("video", "w") for w in ("photo0", "photo1") for s in (1, 2)}
    assert len(others) == 8


def test_parameters_are_drawn_as_the_methods_say():
    drawn = [Photometry.draw(f"video{i}", "photo0", 0) for i in range(4000)]
    shares = [
        np.mean([bool(f(p)) for p in drawn])
        for f in (lambda p: p.grey, lambda p: p.jitter, lambda p: p.sigma)
    ]
    assert np.allclose(shares, [0.2, 0.8, 0.5], atol=0.04)
    jitters = [dict(p.jitter) for p in drawn if p.jitter]
    for name, low, high in (
        ("brightness", 0.6, 1.4),
        ("contrast", 0.6, 1.4),
        ("saturation", 0.6, 1.4),
        ("hue", -0.1, 0.1),
    ):
        amounts = np.array([j[name] for j in jitters])
        assert low <= amounts.min() < low + 0.01 * (high - low)
        assert high - 0.01 * (high - low) < amounts.max() <= high
    sigmas = [p.sigma for p in drawn if p.sigma is not None]
    assert 0.1 <= min(sigmas) < 0.15 and 1.95 < max(sigmas) <= 2.0
    orders = collections.Counter(tuple(name for name, _ in p.jitter) for p in drawn if p.jitter)
    assert len(orders) == 24


def test_all_frames_of_a_video_are_changed_alike(frames):
    """Frame by frame, in one batch or in two: the same pixels."""
    for i in range(12):
        video = f"video{i}"
        whole = see(frames, video, "photo0", ALL)
        assert whole.shape == frames.shape and whole.dtype == np.uint8
        parts = [see(frames[a:b], video, "photo0", ALL) for a, b in ((0, 1), (1, 4))]
        assert np.array_equal(np.concatenate(parts), whole)


def test_operations(frames):
    assert np.array_equal(change(frames, Photometry(False, (), None)), frames)
    grey = change(frames, Photometry(True, (), None))
    assert np.array_equal(grey[..., 0], grey[..., 1]) and np.array_equal(grey[..., 0], grey[..., 2])
    dark = change(frames, Photometry(False, (("brightness", 0.5),), None))
    assert np.abs(dark.astype(int) - frames / 2).max() <= 1
    blurred = change(frames, Photometry(False, (), 2.0)).astype(float)
    assert (
        np.abs(np.diff(blurred, axis=2)).mean() < 0.5 * np.abs(np.diff(frames.astype(float), axis=2)).mean()
    )
    turned = change(frames, Photometry(False, (("hue", 0.1),), None))
    assert not np.array_equal(turned, frames)


def test_the_smallest_frames_can_be_blurred():
    tiny = np.full((1, 8, 8, 3), 9, np.uint8)
    assert np.array_equal(change(tiny, Photometry(False, (), 1.0)), tiny)


MASKED = ViewsSpec(masked=2, masked_ratio=0.5)


def test_masked_views_are_named_after_the_others():
    spec = ViewsSpec(flip=True, photometric=1, masked=2)
    assert spec.names() == ("base", "flip", "photo0", "mask0", "mask1")
    assert spec.whole() + spec.parts() == spec.names()
    with pytest.raises(ValueError, match="no view 'mask0'"):
        see(np.zeros((1, 8, 8, 3), np.uint8), "v", "mask0", spec)
    for wrong in ({"masked": -1}, {"masked_ratio": 1.0}, {"masked_ratio": -0.1}):
        with pytest.raises(SettingsError, match=f"views.{next(iter(wrong))}="):
            ViewsSpec(**wrong)


def test_how_many_patches_are_kept():
    assert [ViewsSpec(masked=1, masked_ratio=r).kept(864) for r in (0.0, 0.25, 0.5, 0.999)] == [
        864,
        648,
        432,
        1,
    ]
    assert ViewsSpec(masked=1).kept(25) == 13 and ViewsSpec(masked=1, masked_ratio=0.9).kept(1) == 1


def test_kept_patches_depend_on_video_view_frame_and_seed_alone():
    first = kept_patches("v", "mask0", 7, 24, MASKED)
    assert first.dtype == np.int16 and first.shape == (12,)
    assert (np.diff(first) > 0).all() and first.min() >= 0 and first.max() < 24
    np.random.seed(3)
    assert np.array_equal(kept_patches("v", "mask0", 7, 24, MASKED), first)
    others = {
        tuple(kept_patches(*where, 24, ViewsSpec(masked=2, seed=seed)).tolist())
        for where in (("v", "mask0", 7), ("w", "mask0", 7), ("v", "mask1", 7), ("v", "mask0", 8))
        for seed in (0, 1)
    }
    assert len(others) == 8


def test_all_patches_are_kept_equally_often():
    drawn = np.concatenate([kept_patches("v", "mask0", frame, 24, MASKED) for frame in range(2000)])
    assert np.allclose(np.bincount(drawn, minlength=24) / 2000, 0.5, atol=0.05)


def test_more_patches_than_positions_can_name():
    assert kept_patches("v", "mask0", 0, MOST_PATCHES, MASKED).max() > 0
    with pytest.raises(SettingsError, match="video v has 32769 patches"):
        kept_patches("v", "mask0", 0, MOST_PATCHES + 1, MASKED)
