"""PyAV: decodes whatever ffmpeg knows, and proves by presentation times which frames it has decoded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from stages.decode.classify import media_error
from stages.decode.decoders.base import Picture
from stages.decode.demux import Scan, Tick, opened, scan
from stages.decode.frames import Probe
from stages.decode.timeline import Timeline
from stages.outcome import MediaError


def clockwise(rotation: float) -> int:
    """Degrees to turn a frame clockwise for display, from ffmpeg's anticlockwise angle.

    Only right angles (to within a degree) are honoured; anything else is nonsense and means 0.
    """
    quarter = round(rotation / 90)
    return -quarter % 4 * 90 if abs(rotation - quarter * 90) <= 1 and abs(quarter) <= 4 else 0


class PyAVDecoder:
    """Files through PyAV, in one thread. Alpha is dropped, sample aspect ratios are ignored."""

    used = "pyav"

    def __init__(self, path: str, clock: float | None, tick: Tick) -> None:
        self._path = path
        self._tick = tick
        self._scan: Scan | None = None

    def scan(self) -> Scan:
        """The file's demuxed packets, read once."""
        if self._scan is None:
            self._scan = scan(self._path, self._tick)
        return self._scan

    def timeline(self) -> Timeline:
        """See `Decoder.timeline`."""
        return self.scan().timeline

    def close(self) -> None:
        """See `Decoder.close`; nothing stays open between calls."""

    def probe(self) -> Probe:
        """What the file holds; decodes its first frame."""
        found = self.scan()
        _, frame = next(self.frames([0]))
        timeline = found.timeline
        seconds = int(timeline.pts[-1] - timeline.pts[0]) * (timeline.tick or Fraction(1))
        return Probe(
            frames=len(timeline),
            fps=float((len(timeline) - 1) / seconds) if seconds > 0 else found.rate,
            height=frame.height,
            width=frame.width,
            rotation=clockwise(frame.rotation),
            codec=found.codec,
            container=found.container,
            start=float(timeline.seconds(np.array([0]))[0]),
            duration=float(seconds),
        )

    def first(self) -> Picture:
        """See `Decoder.first`."""
        return next(self.pictures([0]))

    def pictures(self, wanted: Sequence[int], size: tuple[int, int] | None = None) -> Iterator[Picture]:
        """See `Decoder.pictures`."""
        reformatter = VideoReformatter()
        for _, frame in self.frames(wanted):
            yield self._upright(reformatter, frame, size)

    def _upright(self, reformatter: Any, frame: Any, size: tuple[int, int] | None) -> Picture:
        turns = -clockwise(frame.rotation) // 90 % 4
        if size is not None:
            height, width = size if turns % 2 == 0 else size[::-1]
            frame = reformatter.reformat(frame, width, height, "rgb24", interpolation="BILINEAR")
        else:
            frame = reformatter.reformat(frame, format="rgb24")
        return np.rot90(frame.to_ndarray(), turns)

    def frames(self, wanted: Sequence[int], proof: bool = False) -> Iterator[tuple[int, Any]]:
        """``(index, av.VideoFrame)`` of the frames ``wanted`` (ascending), each identified by its time.

        With ``proof`` the pixels are not finished (no inverse transform, no loop filter): cheaper, and
        enough to know that every frame up to the last one wanted arrives intact.

        Raises:
            MediaError: if a packet or frame is damaged or a wanted frame doesn't arrive.
        """
        if not len(wanted):
            return
        given = 0
        if self._key_before(wanted[0]) is not None:
            try:
                for index, frame in self._walk(wanted, True, proof):
                    yield index, frame
                    given += 1
                return
            except MediaError:
                # a key frame need not be a clean entry (open and refreshed pictures): from the start, then
                pass
        yield from self._walk(wanted[given:], False, proof)

    def _key_before(self, index: int) -> tuple[int, int] | None:
        """(pts, dts) of the key frame to seek to for frame ``index``; None to decode from the start."""
        timeline = self.timeline()
        at = int(np.searchsorted(timeline.keys[:, 0], timeline.pts[index], side="right")) - 1
        return (int(timeline.keys[at, 0]), int(timeline.keys[at, 1])) if at > 0 else None

    def _walk(self, wanted: Sequence[int], seek: bool, proof: bool) -> Iterator[tuple[int, Any]]:
        """One pass of decoding over the file, from the start or from the key frame before ``wanted``."""
        pending = iter(wanted)
        target = next(pending)
        with opened(self._path) as (container, stream):
            if proof:
                stream.codec_context.options = {"skip_loop_filter": "all", "skip_idct": "all"}
            for index, frame in self._arriving(container, stream, target if seek else None):
                if index > target:
                    break
                if index == target:
                    yield index, frame
                    following = next(pending, None)
                    if following is None:
                        return
                    target = following
        raise self._failed(target, "never arrives from the decoder")

    def _arriving(self, container: Any, stream: Any, seek_to: int | None) -> Iterator[tuple[int, Any]]:
        """Intact frames with their indices in the order of decoding; damage is raised."""
        timeline, index = self.timeline(), -1
        entry = None if seek_to is None else self._key_before(seek_to)
        reading: int | None = None
        try:
            if entry is not None:
                container.seek(entry[1], stream=stream, backward=True)
            for number, packet in enumerate(container.demux(stream)):
                self._tick()
                reading = packet.pts
                if packet.is_corrupt or (entry and not number and not packet.is_keyframe):
                    raise self._failed(self._index_at(reading, index + 1), "its packet is damaged")
                for frame in packet.decode():
                    if entry and (frame.pts is None or frame.pts < entry[0]):
                        continue
                    index = index + 1 if timeline.by_order else self._index_of(frame, index)
                    if frame.is_corrupt:
                        raise self._failed(index, "its data is damaged")
                    yield index, frame
        except av.FFmpegError as error:
            raise self._failed(self._index_at(reading, index + 1), error.strerror) from error

    def _index_at(self, pts: int | None, otherwise: int) -> int:
        """Index of the frame shown at ``pts`` ticks, ``otherwise`` if there is none."""
        known = self.timeline().pts
        at = len(known) if pts is None else int(np.searchsorted(known, pts))
        return at if at < len(known) and known[at] == pts else otherwise

    def _index_of(self, frame: Any, before: int) -> int:
        index = self._index_at(frame.pts, -1)
        if index < 0:
            raise self._failed(before + 1, "the decoder gives a frame at a time that no packet has")
        return index

    def _failed(self, index: int, why: str) -> MediaError:
        """The reject for damage at frame ``index``."""
        found = self.scan()
        if found.encrypted:
            what = "is encrypted: decrypt it first, no key is ever asked for"
            return media_error(self._path, "encrypted", what)
        pts = found.timeline.pts
        at_end = index >= len(pts) - 1 or (found.last_pts is not None and pts[index] == found.last_pts)
        what = f"frame {min(index, len(pts) - 1)} of {len(pts)} can't be decoded: {why}"
        return media_error(self._path, "truncated" if at_end else "decode_error", what)
