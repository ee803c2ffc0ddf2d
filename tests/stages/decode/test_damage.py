"""Damaged streams: a result equals what PyAV shows at the same times, or there is a reject."""

from __future__ import annotations

import random
from pathlib import Path

import av
import numpy as np
import pytest

from stages.decode.decoders.decord_ import AutoDecoder
from stages.outcome import MediaError
from tests.stages.decode.media import by_pyav, collect, damaged, packets_of, remuxed, request, write_video


def check(client, path, decoder):
    """Decode by the client and compare with PyAV; True for a result, False for a reject."""
    shown, intact, ticks = by_pyav(path)
    try:
        index, _, rgb, _ = collect(client, request(path, decoder=decoder))
    except MediaError as error:
        assert error.error_class in ("decode_error", "truncated") and error.attempts == 1
        return False
    assert intact, "a damaged stream gave a result"
    assert index.tolist() == list(range(len(ticks)))
    for frame, tick in zip(rgb, ticks, strict=True):
        assert np.abs(frame.astype(int) - shown[tick]).mean() < 2.0
    return True


@pytest.mark.parametrize("decoder", ["auto", "decord", "pyav"])
@pytest.mark.parametrize("how", ["zero", "flip", "nal"])
@pytest.mark.parametrize("numbers", [(1,), (20,), (21,), (24,), (20, 21, 22), (59,)], ids=str)
def test_damaged_packets(client, clean, tmp_path, how, numbers, decoder):
    path = damaged(clean, tmp_path / "damaged.mp4", numbers, how)
    assert check(client, path, decoder) == by_pyav(path)[1]


def test_concealed_damage_that_decord_does_not_notice_is_a_reject(client, clean, tmp_path):
    decord = pytest.importorskip("decord", reason="needs decord")
    path = damaged(clean, tmp_path / "concealed.mp4", (24,), "flip")
    reader = decord.VideoReader(path, num_threads=1, fault_tol=1)
    assert len([reader.next() for _ in range(len(reader))]) == 60, "decord did notice"
    with pytest.raises(MediaError, match="frame 24 of 60") as caught:
        collect(client, request(path, decoder="decord"))
    assert caught.value.error_class == "decode_error"


@pytest.mark.parametrize("seed", range(12))
def test_flipped_bits(client, clean, tmp_path, seed):
    generator = random.Random(seed)
    data = bytearray(Path(clean).read_bytes())
    for offset, size in generator.sample(packets_of(clean)[1:], 2):
        data[offset + generator.randrange(5, size)] ^= 1 << generator.randrange(8)
    path = tmp_path / "flipped.mp4"
    path.write_bytes(data)
    assert check(client, path, "auto") == by_pyav(path)[1]


@pytest.mark.parametrize("dropped", [range(30, 33), range(24, 36), range(57, 60)], ids=str)
def test_dropped_packets(client, clean, tmp_path, dropped):
    path = remuxed(clean, tmp_path / "dropped.mp4", lambda number: number not in dropped)
    assert check(client, path, "auto") == by_pyav(path)[1]


def test_edit_list_cuts_frames_that_decord_would_repeat(client, clean, tmp_path):
    """Packets with negative times are kept in the file and cut by its edit list."""
    path = str(tmp_path / "edited.mp4")
    with av.open(clean) as source, av.open(path, "w", options={"avoid_negative_ts": "disabled"}) as out:
        stream = source.streams.video[0]
        copy = out.add_stream_from_template(stream)
        for packet in source.demux(stream):
            if packet.size:
                packet.pts, packet.dts = packet.pts - 512 * 18, packet.dts - 512 * 18
                packet.stream = copy
                out.mux(packet)
    with av.open(path) as made:
        cut = sum(p.is_discard for p in made.demux(made.streams.video[0]) if p.size)
    assert cut > 0, "the file has no edit list that cuts"
    shown, _, ticks = by_pyav(path)
    assert len(ticks) < 60
    index, pts, rgb, info = collect(client, request(path))
    assert len(index) == len(ticks) == len(np.unique(pts)) and info["decoder"] == "pyav"
    for frame, tick in zip(rgb, ticks, strict=True):
        assert np.abs(frame.astype(int) - shown[tick]).mean() < 2.0
    with pytest.raises(MediaError):
        collect(client, request(path, decoder="decord"))


@pytest.mark.parametrize("ending", ["mp4", "mov", "mkv", "avi", "flv", "ts"])
@pytest.mark.parametrize("share", [0.35, 0.6, 0.95])
def test_truncated_files(client, tmp_path, ending, share):
    whole = write_video(tmp_path / f"whole.{ending}")
    data = Path(whole).read_bytes()
    path = tmp_path / f"cut.{ending}"
    path.write_bytes(data[: int(len(data) * share)])
    if ending == "ts":
        # a transport stream has no end of its own: cut between two frames it is a shorter one
        check(client, path, "auto")
        return
    with pytest.raises(MediaError, match="the file ends early") as caught:
        collect(client, request(path))
    assert caught.value.error_class == "truncated"


def test_truncated_with_its_index_in_front(client, tmp_path):
    whole = write_video(tmp_path / "whole.mp4", container={"movflags": "faststart"})
    data = Path(whole).read_bytes()
    for share in (0.5, 0.99):
        path = tmp_path / "cut.mp4"
        path.write_bytes(data[: int(len(data) * share)])
        with pytest.raises(MediaError) as caught:
            collect(client, request(path))
        assert caught.value.error_class == "truncated"


def test_decord_is_not_given_what_it_could_hoard(clean, monkeypatch):
    """decord decodes ahead without a bound: ``auto`` gives it no file whose pictures would not fit."""
    pytest.importorskip("decord", reason="needs decord")
    for ahead, used in ((60 * 96 * 128 * 3, "decord"), (60 * 96 * 128 * 3 - 1, "pyav")):
        monkeypatch.setattr(AutoDecoder, "ahead_bytes", ahead)
        decoder = AutoDecoder(clean, None, lambda: None)
        assert len(list(decoder.pictures(range(60)))) == 60 and decoder.used == used
