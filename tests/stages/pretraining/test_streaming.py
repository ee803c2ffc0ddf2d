"""The stream of clips: its order, the share of each process, and what becomes of damaged clips."""

import numpy as np
import pytest
import torch

from stages.errors import SettingsError
from stages.outcome import MediaError
from stages.pretraining import streaming
from stages.pretraining.pretraining import videos_of
from stages.pretraining.streaming import CLIPS, Rejects, StreamLoader
from tests.stages.pretraining.making import STAGE, context_for, corpus_in


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return corpus_in(tmp_path_factory.mktemp("streaming"), clips=3)


def stream(corpus, batches, rejects, **place):
    """Videos and clips of the first batches."""
    loader = StreamLoader(STAGE, videos_of(corpus / "catalog"), context_for(corpus), rejects, **place)
    try:
        found = [loader.next() for _ in range(batches)]
    finally:
        loader.close()
    return [b.videos for b in found], [b.features[CLIPS] for b in found]


@pytest.fixture(scope="module")
def whole(corpus):
    rejects = Rejects.at(corpus / "whole.jsonl")
    return *stream(corpus, 4, rejects), rejects


def test_an_epoch_has_every_video_and_others_for_damaged_ones(whole):
    videos, clips, rejects = whole
    sequence = [video for batch in videos for video in batch]
    assert clips[0].shape == (4, 4, 1024, 3) and clips[0].dtype == torch.float32
    for epoch in range(4):
        assert {"v0@mp4", "v1@mp4", "v2@mp4"} <= set(sequence[4 * epoch : 4 * epoch + 4])
    found = rejects.read(before=16)
    assert found and {(video, reason) for video, reason, _ in found} == {("v3@mp4", "decode_error")}
    assert rejects.read(before=0) == []


def test_the_place_in_the_sequence_says_which_clip(corpus, whole, tmp_path):
    """Going on, and sharing batches, gives the same clips."""
    rejects = Rejects.at(tmp_path / "r.jsonl")
    videos, clips = stream(corpus, 2, rejects, seen=8)
    assert videos == whole[0][2:] and torch.equal(torch.stack(clips), torch.stack(whole[1][2:]))
    parts = [stream(corpus, 2, rejects, rank=rank, world=2) for rank in range(2)]
    for number in range(2):
        joined = torch.stack([parts[i % 2][1][number][i // 2] for i in range(4)])
        assert torch.equal(joined, whole[1][number])


def test_clips_start_anywhere_and_short_videos_repeat_their_last_frame():
    draws = np.random.Generator(np.random.PCG64(0))
    row = {"start": 3, "frames": 20}
    spans = {streaming._span(row, 4, 2, draws) for _ in range(200)}
    assert spans == {(start, 7) for start in range(4, 17, 2)}
    assert streaming._span({"start": 3, "frames": 2}, 4, 2, draws) == (4, 1)
    assert streaming._span({"start": 0, "frames": 5}, 4, 2, draws) == (0, 5)


def test_a_line_that_was_cut_off_is_no_reject(tmp_path):
    rejects = Rejects.at(tmp_path / "r.jsonl")
    for position in (5, 2, 5):
        rejects.add(position, 0, f"v{position}", MediaError("decode_error", "spoilt"))
    with rejects.path.open("a") as file:
        file.write('\n[7, 0, "v7", "dec')
    Rejects.at(rejects.path).add(8, 1, "v8", MediaError("timeout", "slow"))
    assert rejects.read(9) == [
        ("v2", "decode_error", "spoilt"), ("v5", "decode_error", "spoilt"), ("v8", "timeout", "slow"),
    ]  # fmt: skip


def test_a_corpus_of_which_nothing_can_be_decoded_stops(corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(streaming, "TRIES", 3)
    rows = [{**row, "digest": "another", "mtime": 0} for row in videos_of(corpus / "catalog")]
    loader = StreamLoader(STAGE, rows, context_for(corpus), Rejects.at(tmp_path / "r.jsonl"))
    try:
        with pytest.raises(SettingsError, match="3 clips in a row could not be decoded, the last of video v"):
            loader.next()
    finally:
        loader.close()
