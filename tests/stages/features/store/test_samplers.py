import multiprocessing
from collections import Counter

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from stages.features.store.reader import FeatureStore
from stages.features.store.samplers import (
    BankClip,
    Clip,
    ClipDataset,
    ClipSampler,
    Pattern,
    RandomClip,
    WholeVideo,
    Windows,
    load,
)
from tests.stages.features.store.making import make_store

COUNTS = {"a": 1, "b": 4, "c": 5, "d": 12}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    shapes = {"tokens": (6, 8), "cls": (8,)}
    return FeatureStore(make_store(tmp_path_factory.mktemp("samplers") / "s", [COUNTS], shapes).root)


def windows(pattern: Pattern, count: int) -> list[list[int]]:
    return [list(pattern.positions(count, i, 0.0)) for i in range(pattern.clips(count))]


def test_all_windows() -> None:
    assert windows(Windows(3), 5) == [[0, 1, 2], [1, 2, 3], [2, 3, 4]]
    assert windows(Windows(3, stride=2), 6) == [[0, 2, 4], [1, 3, 5]]
    assert windows(Windows(4, hop=4), 10) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
    assert windows(Windows(3), 2) == [[0, 1, 2]]
    assert windows(Windows(5, centred=True), 2) == [[-2, -1, 0, 1, 2], [-1, 0, 1, 2, 3]]
    assert windows(Windows(3, stride=2, hop=2, centred=True), 3) == [[-2, 0, 2], [0, 2, 4]]
    assert windows(WholeVideo(), 3) == [[0, 1, 2]]


@pytest.mark.parametrize("count", [1, 4, 5, 9, 30])
@pytest.mark.parametrize(("frames", "hop"), [(1, 1), (3, 1), (4, 4), (5, 2), (7, 3)])
def test_windows_reach_every_frame_and_only_the_last_leaves_the_video(
    count: int, frames: int, hop: int
) -> None:
    found = windows(Windows(frames, hop=hop), count)
    assert set(range(count)) <= {p for window in found for p in window}
    assert all(window[-1] < count for window in found[:-1])


@pytest.mark.parametrize(("frames", "stride"), [(5, 1), (3, 4), (1, 1)])
def test_random_clips_lie_within_the_video_and_reach_all_of_it(frames: int, stride: int) -> None:
    pattern, count = RandomClip(frames, stride), 12
    drawn = [pattern.positions(count, 0, draw) for draw in np.linspace(0, 1, 500, endpoint=False)]
    assert {clip[0] for clip in drawn} == set(range(count - (frames - 1) * stride))
    assert all(len(clip) == frames and clip[-1] < count and clip.step == stride for clip in drawn)
    short = pattern.positions(1, 0, 0.99)
    assert list(short) == [i * stride for i in range(frames)]


@pytest.mark.parametrize("count", [1, 2, 7, 8, 20, 60])
def test_strides_are_drawn_evenly_and_short_videos_repeat_the_last_frame_that_is_reached(count: int) -> None:
    """VOL's clips (methods sheet 1.4), against the rule taken step by step."""
    pattern, found = RandomClip(8, (1, 2, 4, 8), repeat_last=True), Counter[tuple[int, ...]]()
    for draw in np.linspace(0, 1, 4000, endpoint=False):
        found[tuple(pattern.positions(count, 0, draw))] += 1
    expected = Counter[tuple[int, ...]]()
    for stride in (1, 2, 4, 8):
        starts = range(max(count - 7 * stride, 1))
        for start in starts:
            clip = [start]
            while len(clip) < 8:
                clip.append(clip[-1] + stride if clip[-1] + stride < count else clip[-1])
            expected[tuple(clip)] += 1000 / len(starts)
    assert found.keys() == expected.keys()
    assert all(abs(found[clip] - times) <= 2 for clip, times in expected.items())


def test_clips_of_a_video_follow_each_other_and_are_drawn_apart(store: FeatureStore) -> None:
    pattern = RandomClip(2, (1, 2), clips_per_video=5, repeat_last=True)
    sampler = ClipSampler(store, pattern, seed=1)
    clips = list(sampler)
    assert len(clips) == 5 * len(COUNTS) and all(all(clip.mask) for clip in clips)
    batches = [clips[i : i + 5] for i in range(0, len(clips), 5)]
    assert [len({clip.video for clip in batch}) for batch in batches] == [1] * len(COUNTS)
    assert {batch[0].video for batch in batches} == set(COUNTS)
    (long,) = [batch for batch in batches if batch[0].video == "d"]
    assert len({clip.positions for clip in long}) > 2
    assert load(store, batches[0][0])[0].shape == (2, 6, 8)
    sampler.advance(len(sampler))
    assert [clip.video for clip in sampler] != [clip.video for clip in clips]
    assert list(ClipSampler(store, pattern, seed=1)) == clips


@pytest.mark.parametrize(
    "make",
    [
        lambda: RandomClip(0),
        lambda: RandomClip(2, 0),
        lambda: RandomClip(2, ()),
        lambda: RandomClip(2, (1, 0)),
        lambda: RandomClip(2, clips_per_video=0),
        lambda: Windows(2, hop=0),
    ],
)
def test_senseless_patterns_are_refused(make: type) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        make()


def test_the_mask_says_which_frames_exist(store: FeatureStore) -> None:
    clips = list(ClipSampler(store, Windows(5, centred=True), shuffle=False, videos=["b"]))
    assert [clip.positions[2] for clip in clips] == [0, 1, 2, 3]
    assert clips[0] == Clip("b", (-2, -1, 0, 1, 2), (False, False, True, True, True))
    features, mask = load(store, clips[0])
    assert (features.shape, features.dtype, mask.dtype) == ((5, 6, 8), torch.float16, torch.bool)
    assert torch.equal(features[mask], store.clip("b", [0, 1, 2]))
    assert not features[~mask].any()
    features, mask = load(store, clips[2], "cls")
    assert torch.equal(features[:4], store.clip("b", [0, 1, 2, 3], "cls"))
    assert mask.tolist() == [True, True, True, True, False]


def test_an_epoch_is_every_clip_once_in_an_order_of_its_own(store: FeatureStore) -> None:
    sampler = ClipSampler(store, Windows(3), seed=1)
    ordered = list(ClipSampler(store, Windows(3), shuffle=False))
    assert len(sampler) == len(ordered) == sum(max(n - 2, 1) for n in COUNTS.values())
    epochs = []
    for _ in range(3):
        epochs.append(list(sampler))
        sampler.advance(len(sampler))
    assert sampler.epoch == 3
    for epoch in epochs:
        assert Counter(epoch) == Counter(ordered)
    assert epochs[0] != epochs[1] != epochs[2]
    assert list(ClipSampler(store, Windows(3), seed=1)) == epochs[0]
    assert list(ClipSampler(store, Windows(3), seed=2)) != epochs[0]


def test_random_starts_change_from_epoch_to_epoch(store: FeatureStore) -> None:
    sampler = ClipSampler(store, RandomClip(2), videos=["d"])
    starts = set()
    for _ in range(60):
        (clip,) = sampler
        starts.add(clip.positions[0])
        sampler.advance(1)
    assert len(starts) > 5


@pytest.mark.parametrize("pattern", [RandomClip(3), RandomClip(3, (1, 2), 2), Windows(3), WholeVideo()])
@pytest.mark.parametrize("consumed", [1, 3, 4, 7])
def test_a_resumed_sampler_goes_on_as_if_nothing_had_happened(
    store: FeatureStore, pattern: Pattern, consumed: int
) -> None:
    def take(sampler: ClipSampler, clips: int) -> list[Clip]:
        taken = []
        while len(taken) < clips:
            for clip in sampler:  # what was iterated ahead but not counted is not lost
                taken.append(clip)
                sampler.advance(1)
                if len(taken) == clips or sampler.step == 0:
                    break
        return taken

    undisturbed = take(ClipSampler(store, pattern, seed=5), 30)
    first = ClipSampler(store, pattern, seed=5)
    before = take(first, consumed)
    state = first.state_dict()
    assert all(isinstance(value, int) for value in state.values())
    second = ClipSampler(store, pattern)
    second.load_state_dict(state)
    assert before + take(second, 30 - consumed) == undisturbed


def test_ranks_share_an_epoch(store: FeatureStore) -> None:
    total = len(ClipSampler(store, Windows(3)))
    shuffled = [list(ClipSampler(store, Windows(3), rank=r, world=4)) for r in range(4)]
    assert {len(part) for part in shuffled} == {total // 4}
    assert max(Counter(clip for part in shuffled for clip in part).values()) == 1
    ordered = [list(ClipSampler(store, Windows(3), shuffle=False, rank=r, world=4)) for r in range(4)]
    assert [len(list(part)) for part in ordered] == [
        len(ClipSampler(store, Windows(3), shuffle=False, rank=r, world=4)) for r in range(4)
    ]
    every = Counter(clip for part in ordered for clip in part)
    assert every == Counter(ClipSampler(store, Windows(3), shuffle=False))


def test_videos_that_are_not_there_are_refused(store: FeatureStore) -> None:
    with pytest.raises(KeyError, match="no video 'zz'"):
        ClipSampler(store, WholeVideo(), videos=["a", "zz"])


def test_an_empty_choice_has_no_clips(store: FeatureStore) -> None:
    assert list(ClipSampler(store, RandomClip(2), videos=[])) == []


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_loader_workers_read_what_the_process_reads(store: FeatureStore, method: str) -> None:
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"this system has no {method}")
    store.clip("d")  # the parent has files open
    sampler = ClipSampler(store, Windows(3), seed=3)
    loader = DataLoader(
        ClipDataset(store, ("tokens", "cls")),
        batch_size=4,
        sampler=sampler,
        num_workers=1,
        multiprocessing_context=method,
    )
    batches = list(loader)
    expected = list(sampler)
    assert [video for batch in batches for video in batch["video"]] == [clip.video for clip in expected]
    tokens = torch.cat([batch["tokens"] for batch in batches])
    masks = torch.cat([batch["mask"] for batch in batches])
    for clip, found, mask in zip(expected, tokens, masks, strict=True):
        assert torch.equal(found, load(store, clip)[0])
        assert mask.tolist() == list(clip.mask)


def test_a_bank_gives_each_of_its_clips_before_one_comes_again() -> None:
    pattern = BankClip(4, clips_per_video=3)
    assert pattern.clips(12) == 3
    for draw in (0.0, 0.3, 0.9):
        starts = [pattern.positions(12, number, draw) for number in range(6)]
        assert {s.start for s in starts[:3]} == {0, 4, 8} and starts[3:] == starts[:3]
    for count in (0, 10):
        with pytest.raises(ValueError, match=f"a bank of {count} frames holds no whole clips of 4"):
            pattern.positions(count, 0, 0.5)
