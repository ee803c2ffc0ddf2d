"""Segments, strides and seeking give what decoding all of it gives."""

from __future__ import annotations

import numpy as np
import pytest

from stages.decode.decoders.pyav_ import PyAVDecoder
from stages.decode.spec import Geometry
from stages.outcome import MediaError
from stages.stage import MemoryAttempts
from tests.stages.decode.media import by_pyav, collect, request, write_video

FILES = {
    "mp4": ("a.mp4", {}),
    "one key frame": ("a.mp4", {"options": {"g": "600"}}),
    "open groups": ("a.mp4", {"options": {"g": "15", "x264-params": "open-gop=1:bframes=3:b-adapt=0"}}),
    "refreshed": ("a.mp4", {"options": {"g": "20", "x264-params": "intra-refresh=1:bframes=0"}}),
    "mkv": ("a.mkv", {}),
    "ts": ("a.ts", {}),
    "avi": ("a.avi", {}),
    "flv": ("a.flv", {}),
    "raw": ("a.h264", {}),
    "mpeg2": ("a.mpg", {"codec": "mpeg2video"}),
    "mpeg4 avi": ("a.avi", {"codec": "mpeg4", "options": {"bf": "2"}}),
    "vp9": (
        "a.webm",
        {"codec": "libvpx-vp9", "options": {"cpu-used": "8", "g": "20", "lag-in-frames": "16"}},
    ),
    "fragmented": ("a.mp4", {"container": {"movflags": "frag_keyframe+empty_moov"}}),
    "variable": ("a.mkv", {"pts": np.cumsum(np.tile([40, 7, 120, 33, 250, 1], 10)).tolist()}),
}


@pytest.mark.parametrize("decoder", ["auto", "pyav"])
@pytest.mark.parametrize("kind", FILES)
def test_segments_together_are_the_whole(client, tmp_path, kind, decoder):
    name, settings = FILES[kind]
    path = write_video(tmp_path / name, **settings)
    whole = collect(client, request(path, decoder=decoder))
    assert whole[0].tolist() == list(range(60))
    parts = [request(path, decoder=decoder, start=s, frames=17, chunk=5) for s in range(0, 60, 17)]
    got = [[*video] for video in client.decode(parts, MemoryAttempts())]
    chunks = [chunk for video in got for chunk in video]
    assert [len(c) for c in got[0]] == [5, 5, 5, 2]
    assert np.array_equal(np.concatenate([c.index for c in chunks]), whole[0])
    assert np.array_equal(np.concatenate([c.pts for c in chunks]), whole[1])
    assert np.abs(np.concatenate([c.rgb for c in chunks]).astype(int) - whole[2]).max() <= 2


@pytest.mark.parametrize("decoder", ["auto", "pyav"])
@pytest.mark.parametrize("settings", [{"stride": 7}, {"fps": 3.0}, {"fps": 9.0}])
def test_sampled_frames_are_those_of_the_whole(client, clean, decoder, settings):
    shown, _, ticks = by_pyav(clean)
    index, pts, rgb, _ = collect(client, request(clean, decoder=decoder, start=9, frames=40, **settings))
    assert len(index) >= 4 and index.min() >= 9 and index.max() < 49
    for at, second, frame in zip(index, pts, rgb, strict=True):
        assert second == pytest.approx(at / 25)
        assert np.abs(frame.astype(int) - shown[ticks[at]]).mean() < 2.0


def test_seeking_leaves_out_the_beginning(clean):
    decoded = []
    decoder = PyAVDecoder(clean, None, lambda: decoded.append(1))
    decoder.timeline()
    decoded.clear()
    assert [index for index, _ in decoder.frames([50, 51])] == [50, 51]
    assert len(decoded) < 20


def test_presentation_times_are_kept(client, tmp_path):
    times = [0, 40, 47, 170, 1000, 1001]
    path = write_video(tmp_path / "variable.mkv", count=6, pts=times)
    index, pts, _, _ = collect(client, request(path))
    assert pts.dtype == np.float64 and (pts - pts[0]).tolist() == pytest.approx([t / 1000 for t in times])
    index, _, _, _ = collect(client, request(path, fps=10.0))
    # shown at 0, .1, .2, … 1.0
    assert index.tolist() == [0, 2, 3, 4]


def test_a_segment_without_sampled_frames_has_no_chunks(client, clean):
    asked = request(clean, fps=0.5, start=5, frames=10)
    videos = list(client.decode([asked], MemoryAttempts()))
    assert [list(v) for v in client.decode([asked], MemoryAttempts())] == [[]] and len(videos) == 1


def test_a_segment_beyond_the_end_is_a_reject(client, clean):
    with pytest.raises(MediaError, match="60 frames"):
        collect(client, request(clean, start=60))


def test_borders_and_size_are_those_of_the_first_frame_of_the_file(client, tmp_path):
    frames = [np.full((96, 128, 3), 120, np.uint8) for _ in range(40)]
    for number, frame in enumerate(frames):
        frame[: 16 if number < 20 else 32] = 0
    path = write_video(tmp_path / "borders.mp4", frames)
    for start in (0, 25):
        _, _, rgb, _ = collect(client, request(path, crop="borders", start=start, frames=5))
        assert rgb.shape[1:] == (80, 128, 3)
    _, _, rgb, _ = collect(
        client, request(path, crop="borders", geometry=Geometry((28, 42)), resizer="decoder")
    )
    assert rgb.shape == (40, 28, 42, 3) and rgb[0].mean() > 110


@pytest.mark.parametrize("resizer", ["pil", "torch", "cv2", "decoder"])
@pytest.mark.parametrize("decoder", ["auto", "pyav"])
def test_resizers_agree_on_what_is_where(client, clean, resizer, decoder):
    asked = request(clean, decoder=decoder, resizer=resizer, geometry=Geometry((48, 80)), frames=4)
    _, _, rgb, _ = collect(client, asked)
    _, _, reference, _ = collect(
        client, request(clean, decoder="pyav", geometry=Geometry((48, 80)), frames=4)
    )
    assert rgb.shape == (4, 48, 80, 3)
    assert np.abs(rgb.astype(int) - reference).mean() < 12
