"""Clips as files: real H.264, the same bytes every time, complete or absent."""

import concurrent.futures
import hashlib
import json
import multiprocessing

import av
import numpy as np
import pytest
from PIL import Image

from stages.sprites.clip import clip
from stages.sprites.encode import CRF
from stages.sprites.files import clip_files, clip_index, write_clip
from stages.sprites.spec import SpritesSpec

SPEC = SpritesSpec(level="L2", frames=6, size=(48, 64), fps=12.5)


def digests(folder):
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_the_same_clip_is_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        write_clip(tmp_path / name, SPEC, 3)
    found = digests(tmp_path / "a")
    assert found == digests(tmp_path / "b")
    files = clip_files(SPEC, 3)
    masks = [f"{files.masks}/{t:05d}.png" for t in range(6)]
    assert sorted(found) == sorted([files.video, files.flow, files.objects, *masks])


def test_the_video_is_h264_of_the_clip(tmp_path):
    made = clip(SPEC, 0)
    with av.open(str(write_clip(tmp_path, SPEC, 0))) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert (stream.height, stream.width, float(stream.average_rate)) == (48, 64, 12.5)
        assert "creation_time" not in container.metadata
        frames = list(container.decode(stream))
    assert [frame.time for frame in frames] == [t / 12.5 for t in range(6)]
    assert CRF <= 18
    for frame, rgb in zip(frames, made.rgb, strict=True):
        wanted = av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(format="yuv420p").to_ndarray()
        error = frame.to_ndarray().astype(float) - wanted
        assert 10 * np.log10(255**2 / (error**2).mean()) > 38  # what 4:2:0 can hold survives compression


def test_ground_truth_files_hold_the_clip(tmp_path):
    made = clip(SPEC, 1)
    write_clip(tmp_path, SPEC, 1)
    files = clip_files(SPEC, 1)
    for t in range(6):
        with Image.open(tmp_path / files.masks / f"{t:05d}.png") as image:
            assert image.mode == "P"
            assert np.array_equal(np.asarray(image), made.ids[t])
            assert image.getpalette()[3:6] == [128, 0, 0]
    assert np.array_equal(np.load(tmp_path / files.flow)["flow"], made.flow)
    about = json.loads((tmp_path / files.objects).read_text())
    assert about["objects"] == made.objects and (about["seed"], about["index"]) == (SPEC.seed, 1)


def test_an_existing_clip_is_left_alone(tmp_path):
    video = write_clip(tmp_path, SPEC, 0)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert write_clip(tmp_path, SPEC, 0) == video
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_what_an_interrupted_call_left_is_completed(tmp_path):
    whole, partial = tmp_path / "whole", tmp_path / "partial"
    write_clip(whole, SPEC, 2)
    write_clip(partial, SPEC, 2).unlink()  # the video is written last
    (partial / clip_files(SPEC, 2).flow).unlink()
    write_clip(partial, SPEC, 2)
    assert digests(whole) == digests(partial)


def test_simultaneous_writers_agree(tmp_path):
    write_clip(tmp_path / "alone", SPEC, 0)
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(3, mp_context=context) as pool:
        for job in [pool.submit(write_clip, tmp_path / "shared", SPEC, 0) for _ in range(6)]:
            job.result()
    assert digests(tmp_path / "alone") == digests(tmp_path / "shared")


def test_a_clip_that_cannot_be_written_leaves_nothing(tmp_path, monkeypatch):
    def full(path, rgb, fps):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr("stages.sprites.encode.write_h264", full)
    with pytest.raises(OSError, match="No space left"):
        write_clip(tmp_path, SPEC, 0)
    assert list(tmp_path.rglob("*")) == []


def test_addresses():
    files = clip_files(SPEC, 17)
    assert files.video == f"L2-{SPEC.digest()}/000017.mp4"
    assert clip_index(SPEC, files.video) == 17
    for other in ("L2-00000000/000017.mp4", f"L2-{SPEC.digest()}/17.mp4", f"L2-{SPEC.digest()}/x.mp4"):
        with pytest.raises(ValueError, match="no clip"):
            clip_index(SPEC, other)
