"""What a container says without decoding: which frames there are and when they are shown.

Headers lie about counts and durations, so packets are counted. A frame is identified by the presentation
time of its packet; packets that an edit list discards are no frames.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np

from stages.decode.classify import check_source, cut_off, media_error, unreadable
from stages.decode.timeline import Timeline

Tick = Callable[[], None]
"""Called now and then while work goes on, so that slow is told from hanging."""

NOT_VIDEO = {
    "tty": "is text",
    "hls": "is a playlist: list the files it names",
    "concat": "is a playlist: list the files it names",
    "dash": "is a playlist: list the files it names",
    "image2": "is a still picture: put pictures of one video into a folder",
}
_CUT = ("File ended prematurely", "partial file")
_EARLY = "the file ends early: copy or download it again"


@dataclass(frozen=True, eq=False)
class Scan:
    """The outcome of one pass over a file's packets.

    Attributes:
        timeline: the frames.
        rate: the container's mean frame rate, None where it has none.
        codec: the codec's name.
        container: ffmpeg's name of the container.
        encrypted: the container says that the stream is encrypted.
        last_pts: presentation time of the last packet in the file, None where it has none.
    """

    timeline: Timeline
    rate: float | None
    codec: str
    container: str
    encrypted: bool
    last_pts: int | None


@contextmanager
def _warnings() -> Iterator[list[Any]]:
    """What ffmpeg warns of in this thread meanwhile, as (level, who, text)."""
    level, skipped = av.logging.get_level(), av.logging.get_skip_repeated()
    av.logging.set_level(av.logging.WARNING)
    # else a warning that an earlier file has given already would be missing
    av.logging.set_skip_repeated(False)
    try:
        with av.logging.Capture() as log:
            yield log
    finally:
        av.logging.set_level(level)
        av.logging.set_skip_repeated(skipped)


@contextmanager
def opened(path: str) -> Iterator[tuple[Any, Any]]:
    """The container of the file at ``path`` and its video stream, set to decode in one thread.

    Raises:
        MediaError: ``not_media``, ``truncated``, ``no_video_stream`` or ``unreadable``.
    """
    try:
        container = av.open(
            # an absolute path is never taken for a protocol, as "concat:x" would be
            str(Path(path).absolute()),
            metadata_errors="ignore",
            options={"protocol_whitelist": "file", "pattern_type": "none"},
        )
    except (av.FFmpegError, ValueError) as error:
        check_source(path)
        if isinstance(error, av.FFmpegError) and error.errno == errno.EIO:
            raise unreadable(path, OSError(errno.EIO, error.strerror)) from error
        if cut_off(path):
            raise media_error(path, "truncated", _EARLY) from error
        raise media_error(path, "not_media", "is in no format that ffmpeg knows") from error
    with container:
        yield container, _video_stream(container, path)


def _video_stream(container: Any, path: str) -> Any:
    name = container.format.name
    kind = "image2" if name.endswith("_pipe") else name
    if kind in NOT_VIDEO:
        raise media_error(path, "not_media", NOT_VIDEO[kind])
    streams = [s for s in container.streams.video if not _is_cover(s)]
    if not streams and cut_off(path):
        raise media_error(path, "truncated", _EARLY)
    if not streams:
        held = sorted({s.type for s in container.streams})
        what = f"has no video stream, only {', '.join(held)}" if held else "has no streams"
        raise media_error(path, "no_video_stream", what)
    best = container.streams.best("video")
    stream = best if best in streams else streams[0]
    if stream.codec_context is None:
        raise media_error(path, "decode_error", "is in a codec for which ffmpeg has no decoder")
    stream.thread_type, stream.thread_count = "NONE", 1
    return stream


def _is_cover(stream: Any) -> bool:
    return bool(stream.disposition & type(stream.disposition).attached_pic)


class _Packets:
    """What is kept of the packets of one pass."""

    def __init__(self) -> None:
        self.pts: list[int] = []
        self.keys: list[tuple[int, int]] = []
        self.untimed = False
        self.encrypted = False
        self.last_pts: int | None = None
        self.last_corrupt = False

    def have_times(self) -> bool:
        """Whether every frame has a presentation time of its own."""
        return not self.untimed and len(set(self.pts)) == len(self.pts)

    def add(self, packet: Any) -> None:
        self.encrypted = self.encrypted or packet.has_sidedata("encryption_info")
        self.last_pts, self.last_corrupt = packet.pts, packet.is_corrupt
        if packet.is_discard:
            return
        if packet.pts is None:
            self.untimed = True
            return
        self.pts.append(packet.pts)
        if packet.is_keyframe and packet.dts is not None:
            self.keys.append((packet.pts, packet.dts))


def scan(path: str, tick: Tick) -> Scan:
    """Demux the whole file at ``path``.

    Raises:
        MediaError: as `opened`, and ``truncated``, ``no_frames``, ``encrypted`` or ``decode_error``.
    """
    packets, cut = _Packets(), False
    with opened(path) as (container, stream):
        try:
            with _warnings() as log:
                for packet in container.demux(stream):
                    tick()
                    if packet.size:
                        packets.add(packet)
                    cut = cut or any(mark in line[2] for line in log for mark in _CUT)
                    log.clear()
        except av.FFmpegError as error:
            raise media_error(path, "decode_error", f"can't be demuxed: {error.strerror}") from error
        _refuse_incomplete(path, packets, cut or _index_exceeds(path, stream))
        timed = packets.have_times() and not _lacks_order(container, stream, packets)
        rate = float(stream.average_rate) if stream.average_rate else None
        timeline = _timeline(packets, stream.time_base) if timed else None
        codec, name = stream.codec_context.name, container.format.name
    if timeline is None:
        timeline = _decoded_timeline(path, rate, tick)
    return Scan(timeline, rate, codec, name, packets.encrypted, packets.last_pts)


def _refuse_incomplete(path: str, packets: _Packets, cut: bool) -> None:
    if cut or packets.last_corrupt:
        raise media_error(path, "truncated", _EARLY)
    if not packets.pts and not packets.untimed:
        raise media_error(path, "no_frames", "has a video stream without frames")


def _index_exceeds(path: str, stream: Any) -> bool:
    """Whether the container's index points beyond the end of the file."""
    size = Path(path).stat().st_size
    return any(entry.pos + entry.size > size for entry in stream.index_entries)


def _lacks_order(container: Any, stream: Any, packets: _Packets) -> bool:
    """AVI has times of decoding only: with reordered frames they are not those of presentation."""
    return container.format.name == "avi" and stream.codec_context.has_b_frames and _ascending(packets.pts)


def _ascending(times: list[int]) -> bool:
    return all(a < b for a, b in pairwise(times))


def _timeline(packets: _Packets, tick: Fraction) -> Timeline:
    keys = np.array(sorted(packets.keys), np.int64).reshape(-1, 2)
    return Timeline(np.sort(np.array(packets.pts, np.int64)), Fraction(tick), keys)


def _decoded_timeline(path: str, rate: float | None, tick: Tick) -> Timeline:
    """The timeline of a stream whose packets have no distinct times (raw streams): all is decoded once."""
    times: list[int | None] = []
    with opened(path) as (container, stream):
        try:
            for frame in container.decode(stream):
                tick()
                times.append(frame.pts)
        except av.FFmpegError as error:
            what = f"frame {len(times)} can't be decoded: {error.strerror}"
            raise media_error(path, "decode_error", what) from error
        time_base = Fraction(stream.time_base)
    if not times:
        raise media_error(path, "no_frames", "has a video stream without frames")
    known = sorted(t for t in times if t is not None)
    if len(known) == len(times) and _ascending(known):
        return Timeline(np.array(known, np.int64), time_base, by_order=True)
    period = 1 / Fraction(rate or 25).limit_denominator(100_000)
    return Timeline(np.arange(len(times), dtype=np.int64), period, by_order=True)
