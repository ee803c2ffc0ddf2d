"""What is no decodable video: each a named reject, found without harm."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from stages.outcome import MediaError
from stages.stage import MemoryAttempts
from tests.outside import PROJECT
from tests.stages.decode.media import collect, request, write_audio, write_video


def rejected(client, path, error_class):
    """Decoding and probing must agree on the class; returns the message."""
    with pytest.raises(MediaError) as decoding:
        collect(client, request(path))
    with pytest.raises(MediaError) as probing:
        client.probe("key", str(path), MemoryAttempts())
    assert decoding.value.error_class == probing.value.error_class == error_class
    assert decoding.value.message == probing.value.message and decoding.value.attempts == 1
    assert str(Path(path).parent) not in decoding.value.message
    return decoding.value.message


def test_empty_file(client, tmp_path):
    (tmp_path / "a.mp4").touch()
    assert rejected(client, tmp_path / "a.mp4", "empty_file").startswith("a.mp4: ")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.mp4", b"just some text\n" * 50),
        ("a.txt", b"just some text\n" * 50),
        ("a.mp4", np.random.default_rng(0).bytes(5000)),
        ("a.webm", bytes(5000)),
        ("a.mp4", b"\x00"),
        (
            "a.m3u8",
            b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://example.invalid/a.ts\n#EXT-X-ENDLIST\n",
        ),
        ("a.ffconcat", b"ffconcat version 1.0\nfile 'other.mp4'\n"),
        ("a.py", b"import os\n"),
    ],
    ids=lambda v: v if isinstance(v, str) else f"{len(v)} bytes",
)
def test_not_media(client, tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    rejected(client, tmp_path / name, "not_media")


def test_still_picture(client, tmp_path):
    """One that is called like a picture is a video of one frame: see test_pictures."""
    Image.new("RGB", (20, 20)).save(tmp_path / "a.mp4", format="png")
    assert "folder" in rejected(client, tmp_path / "a.mp4", "not_media")


def test_a_name_that_looks_like_a_pattern_or_a_protocol(client, clean, tmp_path):
    for name in ("a%03d.mp4", "concat:a.mp4", "http:a.mp4", "-i.mp4", "a?b*.mp4"):
        path = tmp_path / name
        os.link(clean, path)
        assert len(collect(client, request(path, stride=20))[0]) == 3


def test_audio_only(client, tmp_path):
    assert "only audio" in rejected(client, write_audio(tmp_path / "a.mp4"), "no_video_stream")


def test_cover_art_is_no_video(client, tmp_path):
    sound, path = write_audio(tmp_path / "a.m4a"), tmp_path / "covered.m4a"
    with av.open(sound) as source, av.open(str(path), "w", format="mp4") as out:
        voice = out.add_stream_from_template(source.streams.audio[0])
        cover = out.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 32, 32, "yuvj420p"
        cover.disposition = type(cover.disposition).attached_pic
        for packet in cover.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), "rgb24")):
            out.mux(packet)
        for packet in source.demux():
            if packet.size:
                packet.stream = voice
                out.mux(packet)
        for packet in cover.encode():
            out.mux(packet)
    with av.open(str(path)) as made:
        assert len(made.streams.video) == 1, "the file has no cover"
    rejected(client, path, "no_video_stream")


def test_header_only(client, tmp_path):
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w", options={"movflags": "empty_moov+frag_keyframe"}) as out:
        stream = out.add_stream("libx264", rate=25)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        out.start_encoding()
    rejected(client, path, "no_frames")


def test_encrypted(client, tmp_path):
    path = write_video(
        tmp_path / "a.mp4",
        container={
            "encryption_scheme": "cenc-aes-ctr",
            "encryption_key": "76a6c65c5ea762046bd749a2e632ccbb",
            "encryption_kid": "a7e61c373e219033c21091fa607bf3b8",
        },
    )
    assert "decrypt" in rejected(client, path, "encrypted")


def test_links(client, tmp_path):
    (tmp_path / "dangling.mp4").symlink_to(tmp_path / "nowhere.mp4")
    assert "dangling link" in rejected(client, tmp_path / "dangling.mp4", "unreadable")
    (tmp_path / "one.mp4").symlink_to(tmp_path / "two.mp4")
    (tmp_path / "two.mp4").symlink_to(tmp_path / "one.mp4")
    assert "leads back to itself" in rejected(client, tmp_path / "one.mp4", "unreadable")
    assert "vanished" in rejected(client, tmp_path / "gone.mp4", "unreadable")


def test_a_fifo_is_never_opened(client, tmp_path):
    path = tmp_path / "a.mp4"
    os.mkfifo(path)
    opened = threading.Event()
    # a writer's open returns only once somebody opens the FIFO for reading
    writer = threading.Thread(
        target=lambda: (os.close(os.open(path, os.O_WRONLY)), opened.set()), daemon=True
    )
    writer.start()
    rejected(client, path, "not_media")
    assert not opened.is_set()
    os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))
    writer.join(5)


def test_directories(client, tmp_path):
    (tmp_path / "x.mp4").mkdir()
    rejected(client, tmp_path / "x.mp4", "not_media")
    (tmp_path / "x.mp4" / "notes.txt").write_text("no image")
    rejected(client, tmp_path / "x.mp4", "not_media")


READ_AS_NOBODY = """
import os, sys
import av, PIL.Image
import stages.decode.decoders.images, stages.decode.decoders.pyav_
from stages.decode.source import probe
from stages.outcome import MediaError
PIL.Image.init()
if os.geteuid() == 0:
    os.setgroups([])
    os.setegid(65534)
    os.seteuid(65534)
for path in sys.argv[1:]:
    try:
        print(probe(path, lambda: None).frames)
    except MediaError as error:
        print(error.error_class, error.message)
"""


def test_without_permission(clean):
    """As another user when root, whom modes do not stop: the child's code with that user's rights."""
    with tempfile.TemporaryDirectory() as place:
        os.chmod(place, 0o755)
        hidden, open_to_all, folder = (
            Path(place, "hidden.mp4"),
            Path(place, "open.mp4"),
            Path(place, "frames"),
        )
        for path, mode in ((hidden, 0o000), (open_to_all, 0o644)):
            path.write_bytes(Path(clean).read_bytes())
            path.chmod(mode)
        folder.mkdir()
        Image.new("RGB", (8, 8)).save(folder / "1.png")
        (folder / "1.png").chmod(0o000)
        command = [sys.executable, "-c", READ_AS_NOBODY, str(hidden), str(open_to_all), str(folder)]
        first = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True)
        folder.chmod(0o000)
        second = subprocess.run([*command[:3], str(folder)], cwd=PROJECT, capture_output=True, text=True)
        folder.chmod(0o755)
    lines = first.stdout.splitlines() + second.stdout.splitlines()
    assert len(lines) == 4, first.stderr + second.stderr
    assert lines[0].startswith("unreadable hidden.mp4: no permission") and lines[1] == "60"
    assert lines[2].startswith("unreadable 1.png: no permission")
    assert lines[3].startswith("unreadable frames: no permission")


NAMES = [
    "with space.mp4",
    "dots...and.more..mp4",
    "--output=x.mp4",
    'it\'s "quoted".mp4',
    "Übergrößenträger 日本語 🎬.mp4",
    "n" * 251 + ".mp4",
    "ü" * 125 + ".mp4",
    os.fsdecode(b"not utf-8 \xff\xfe.mp4"),
    "new\nline.mp4",
    "percent%20.mp4",
]


@pytest.mark.parametrize("decoder", ["auto", "pyav"])
@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_names(client, clean, tmp_path, name, decoder):
    deep = tmp_path.joinpath(*["a folder in a deep hierarchy"] * 9)
    deep.mkdir(parents=True)
    path = deep / name
    assert len(os.fsencode(path)) > 300
    os.link(clean, path)
    assert len(collect(client, request(path, decoder=decoder))[0]) == 60
    assert client.probe("key", str(path), MemoryAttempts()).frames == 60
    path.unlink()
    path.write_bytes(b"")
    with pytest.raises(MediaError) as caught:
        collect(client, request(path))
    caught.value.message.encode("utf-8")
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("ending", ["h264", "mkv", "avi", "ts", "flv", "webm", "mpg"])
def test_containers_without_counts_or_durations(client, tmp_path, ending):
    codec = {"webm": "libvpx-vp9", "mpg": "mpeg2video"}.get(ending, "libx264")
    path = write_video(
        tmp_path / f"a.{ending}", codec=codec, options={"bf": "0"} if codec == "libx264" else {}
    )
    index, pts, _, _ = collect(client, request(path))
    assert len(index) == 60 and np.all(np.diff(pts) > 0)
    probe = client.probe("key", path, MemoryAttempts())
    assert probe.frames == 60 and probe.fps == pytest.approx(25, rel=0.02)
