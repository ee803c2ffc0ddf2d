from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from stages.decode.spec import DecodeSpec
from stages.decode.timeline import Timeline


def shown_on_grid(pts, tick, fps):
    """The definition, word for word: for each grid time the last frame not later than half a tick after."""
    chosen, k = [], 0
    while True:
        t = pts[0] * tick + Fraction(k) / Fraction(fps)
        if t > pts[-1] * tick + tick / 2:
            return sorted(set(chosen))
        chosen.append(max(i for i, p in enumerate(pts) if p * tick <= t + tick / 2))
        k += 1


@pytest.mark.parametrize("fps", [1, 5, 7, 24, 25, 30, 60, 0.3, 29.97])
@pytest.mark.parametrize("kind", ["even", "milliseconds", "variable", "coarse", "offset", "gap"])
def test_fps_sampling_is_the_frame_shown_then(fps, kind):
    rng = np.random.default_rng(3)
    tick = Fraction(1, 24) if kind == "coarse" else Fraction(1, 1000)
    pts = {
        "even": np.arange(100) * 40,
        "milliseconds": np.rint(np.arange(100) * 1001 / 30).astype(int),
        "variable": np.cumsum(rng.integers(1, 400, 80)),
        "coarse": np.arange(90),
        "offset": np.arange(60) * 33 - 700,
        "gap": np.concatenate([np.arange(20) * 40, 9000 + np.arange(20) * 40]),
    }[kind]
    chosen = Timeline(pts.astype(np.int64), tick).sample(DecodeSpec(fps=fps))
    assert chosen.tolist() == shown_on_grid(pts.tolist(), tick, fps)
    assert chosen[0] == 0


def test_slower_sources_keep_every_frame_once():
    timeline = Timeline(np.arange(10, dtype=np.int64), Fraction(1))
    assert timeline.sample(DecodeSpec(fps=5)).tolist() == list(range(10))


@pytest.mark.parametrize(
    "spec", [DecodeSpec(), DecodeSpec(fps="all"), DecodeSpec(stride=7), DecodeSpec(fps=3.7)]
)
def test_segments_keep_the_rhythm_of_the_whole(spec):
    timeline = Timeline(np.arange(333, dtype=np.int64) * 41, Fraction(1, 1000))
    parts = [timeline.sample(spec, start, 50) for start in range(0, 333, 50)]
    assert np.concatenate(parts).tolist() == timeline.sample(spec).tolist()


def test_a_folder_without_clock_keeps_every_frame():
    timeline = Timeline(np.arange(9, dtype=np.int64), None)
    assert timeline.sample(DecodeSpec()).tolist() == list(range(9))
    assert timeline.sample(DecodeSpec(stride=4)).tolist() == [0, 4, 8]
    assert timeline.seconds(np.array([0, 8])).tolist() == [0.0, 8.0]


def test_a_segment_may_hold_no_sampled_frame():
    timeline = Timeline(np.arange(100, dtype=np.int64) * 40, Fraction(1, 1000))
    assert timeline.sample(DecodeSpec(fps=0.5), 10, 20).tolist() == []


def test_single_and_empty():
    assert Timeline(np.array([5], np.int64), Fraction(1, 7)).sample(DecodeSpec()).tolist() == [0]
    assert Timeline(np.array([], np.int64), Fraction(1, 7)).sample(DecodeSpec()).tolist() == []
