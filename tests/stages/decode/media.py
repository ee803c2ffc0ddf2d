"""Real media files for the tests of decoding, written with PyAV."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np

from stages.decode.client import DecoderClient
from stages.decode.spec import DecodeRequest, DecodeSpec
from stages.stage import MemoryAttempts


def textured(count: int, height: int, width: int) -> list[np.ndarray]:
    """Frames of a moving texture, each different from every other: uint8 (height, width, 3)."""
    blocks = np.random.default_rng(0).integers(16, 240, (height // 8 + 1, width // 8 + 1, 3), np.uint8)
    base = blocks.repeat(8, 0).repeat(8, 1)[:height, :width]
    frames = []
    for number in range(count):
        frame = np.roll(base, number * 3, 1).copy()
        frame[: height // 4, : width // 4] = number * 4 % 256
        frames.append(frame)
    return frames


def write_video(
    path,
    frames=None,
    *,
    count=60,
    height=96,
    width=128,
    codec="libx264",
    rate=25,
    pts=None,
    rotation=None,
    options=None,
    container=None,
    pix_fmt="yuv420p",
    format=None,
):
    """Write frames (a texture by default) and return the path as text. ``pts`` are in 1/1000 s."""
    frames = textured(count, height, width) if frames is None else frames
    defaults = {"crf": "18", "g": "12", "bf": "2", "sc_threshold": "0"} if codec == "libx264" else {}
    with av.open(str(path), "w", format=format, options=container or {}) as out:
        stream = out.add_stream(codec, rate=rate, options={**defaults, **(options or {})})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt, stream.thread_count = pix_fmt, 1
        if pts is not None:
            from fractions import Fraction

            stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        if rotation is not None:
            stream.set_display_rotation(rotation)
        for number, frame in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            if pts is None:
                picture.pts = number
            else:
                picture.pts, picture.time_base = pts[number], Fraction(1, 1000)
            for packet in stream.encode(picture):
                out.mux(packet)
        for packet in stream.encode():
            out.mux(packet)
    return str(path)


def write_audio(path):
    """One second of silence without any video."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream("aac", rate=16000)
        for number in range(16):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
            frame.sample_rate, frame.pts = 16000, number * 1024
            for packet in stream.encode(frame):
                out.mux(packet)
        for packet in stream.encode():
            out.mux(packet)
    return str(path)


def packets_of(path):
    """(offset, size) of the video packets of a file in the order of storage."""
    with av.open(str(path)) as container:
        return [(p.pos, p.size) for p in container.demux(container.streams.video[0]) if p.size]


def damaged(source, target, numbers, how):
    """Copy ``source`` to ``target`` with some packets damaged: ``zero``, ``flip`` or ``nal``."""
    data, packets = bytearray(Path(source).read_bytes()), packets_of(source)
    for number in numbers:
        offset, size = packets[number]
        if how == "zero":
            data[offset : offset + size] = bytes(size)
        elif how == "nal":
            data[offset + 4] = 0x1F
        else:
            for at in range(offset + size // 2, offset + size):
                data[at] ^= 0x5A
    Path(target).write_bytes(data)
    return str(target)


def remuxed(source, target, keep):
    """Copy the video packets for whose number ``keep`` is true, with their times."""
    with av.open(str(source)) as container, av.open(str(target), "w") as out:
        stream = container.streams.video[0]
        copy = out.add_stream_from_template(stream)
        for number, packet in enumerate(container.demux(stream)):
            if packet.size and keep(number):
                packet.stream = copy
                out.mux(packet)
    return str(target)


def by_pyav(path):
    """What PyAV alone decodes: {time in ticks: rgb}, whether all of it was intact, the ticks sorted."""
    shown, intact = {}, True
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        try:
            for frame in container.decode(stream):
                shown[frame.pts] = frame.to_ndarray(format="rgb24")
                intact = intact and not frame.is_corrupt
        except av.FFmpegError:
            intact = False
    return shown, intact, sorted(shown)


def request(path, **settings):
    """A request for ``path``; settings of `DecodeSpec` and `DecodeRequest` in one. Every frame by default."""
    names = DecodeSpec.__dataclass_fields__
    spec = {"fps": "all", **{k: v for k, v in settings.items() if k in names}}
    rest = {k: v for k, v in settings.items() if k not in names}
    return DecodeRequest(**{"key": Path(path).name, "path": str(path), "spec": DecodeSpec(**spec), **rest})


def collect(client: DecoderClient, asked: DecodeRequest, attempts=None):
    """All of one video: (index, pts, rgb, info); raises what decoding it raises."""
    video = next(client.decode([asked], attempts or MemoryAttempts()))
    chunks = list(video)
    parts = [np.concatenate([getattr(c, name) for c in chunks]) for name in ("index", "pts", "rgb")]
    return *parts, video.info
