"""The parent's side of decoding: videos in, chunks of frames out, whatever the decoder does."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from stages.decode.decoders.base import DecoderUnavailableError
from stages.decode.frames import FrameChunk, Probe
from stages.decode.names import shown_name
from stages.decode.process import POLL_S, AbandonedError, Child, ChildFailedError
from stages.decode.spec import DecodeRequest
from stages.outcome import MediaError
from stages.stage import Attempts, Limits

READ_AHEAD = 3
"""Messages that wait for the consumer of a child on the same machine."""

Deliver = Callable[[tuple[Any, ...]], None]


class Answering(Protocol):
    """What `DecoderClient` needs of a decoder process, which may be on another machine; see `Child`."""

    videos: int
    stop: threading.Event | None

    @property
    def ended(self) -> bool:
        """Whether it can't be used any more."""

    def request(self, *order: Any) -> None:
        """Give it an order."""

    def answer(self) -> tuple[Any, NDArray[np.uint8]]:
        """Its next message.

        Raises:
            ChildFailedError: the video is too much for it.
            AbandonedError: ``stop`` is set.
        """

    def watch(self) -> None:
        """Called now and then while nobody asks for its answer."""

    def close(self) -> None:
        """End it. May be called again."""


class DecodedVideo:
    """The frames of one request; iterate it once, before the next video of the same `decode`.

    Attributes:
        key: the request's key.
        info: once iteration is complete, ``decoder``: whose pictures were given, ``native``: (height, width)
            of the upright picture, ``borders``: rows and columns cut off at top, bottom, left and right.
    """

    def __init__(self, key: str, take: Callable[[], tuple[Any, ...]]) -> None:
        self.key = key
        self.info: dict[str, Any] = {}
        self._take = take
        self._over = False
        self._source: Any = None

    def of(self, videos: Any) -> DecodedVideo:
        """Keep ``videos``, which this one comes from, alive as long as it is."""
        self._source = videos
        return self

    def __iter__(self) -> Iterator[FrameChunk]:
        """The chunks in order.

        Raises:
            MediaError: at the point of failure, with the number of attempts.
            DecoderUnavailableError: if the configured decoder can't be had on this machine.
        """
        while not self._over:
            kind, value = self._take()
            if kind == "chunk":
                yield value
                continue
            self._over = True
            if kind == "end":
                self.info.update(value)
            else:
                raise value

    def skip(self) -> None:
        """Throw away what has not been taken."""
        while not self._over:
            self._over = self._take()[0] != "chunk"


class DecoderClient:
    """Decodes in a child process that is replaced when it crashes, hangs or grows, or has done its share.

    One call of `decode` or `probe` is active at a time.

    Args:
        limits: of a child.
        start: starts a child; default: as a process on this machine.
        read_ahead: messages (chunks, mostly) that wait for the consumer.
    """

    def __init__(
        self, limits: Limits, start: Callable[[Limits], Answering] = Child, read_ahead: int = READ_AHEAD
    ) -> None:
        self._limits, self._start, self._read_ahead = limits, start, read_ahead
        self._child: Answering | None = None
        self._busy: threading.Event | None = None
        self._reader: Future[None] | None = None

    def probe(self, key: str, path: str, attempts: Attempts) -> Probe:
        """What the file or folder of images at ``path`` holds.

        Raises:
            MediaError: if it is no video that can be decoded, with the number of attempts.
        """
        self._finish_reading()
        found: list[Any] = []

        def deliver(event: tuple[Any, ...]) -> None:
            found.append(event)

        self._attempt(key, path, attempts, deliver, lambda skip: ("probe", path))
        kind, value = found[-1]
        if kind == "end":
            return value
        raise value

    def decode(self, requests: Iterable[DecodeRequest], attempts: Attempts) -> Iterator[DecodedVideo]:
        """The requested videos in order, decoded ahead of the consumer (a few chunks, over their borders).

        Leaving the iteration early is harmless. A child that the video kills is replaced and the video
        decoded again, without what was delivered, until ``limits.attempts`` children have failed on it.
        """
        self._finish_reading()
        videos = self._videos(list(requests), attempts)
        return (video.of(videos) for video in videos)

    def _videos(
        self, requests: list[DecodeRequest], attempts: Attempts
    ) -> Generator[DecodedVideo, None, None]:
        events: queue.Queue[tuple[Any, ...]] = queue.Queue(self._read_ahead)
        stop = threading.Event()

        def deliver(event: tuple[Any, ...]) -> None:
            while not stop.is_set():
                try:
                    return events.put(event, timeout=POLL_S)
                except queue.Full:
                    if self._child is not None:
                        self._child.watch()
            raise AbandonedError

        self._finish_reading()
        self._busy = stop
        pool = ThreadPoolExecutor(1, "decode-reader")
        reader = self._reader = pool.submit(self._read_all, requests, attempts, deliver)
        pool.shutdown(wait=False)
        try:
            for request in requests:
                video = DecodedVideo(request.key, lambda: _take(events, reader))
                yield video
                video.skip()
        finally:
            # no waiting here: the collector may close this generator in any thread, the reader's included
            stop.set()

    def _read_all(self, requests: list[DecodeRequest], attempts: Attempts, deliver: Deliver) -> None:
        """The reader thread: all requests through the child, everything that comes to ``deliver``."""
        try:
            for request in requests:
                self._attempt(request.key, request.path, attempts, deliver, _decode_order(request))
        except AbandonedError:
            # the child is in the middle of a video that nobody wants
            self._drop_child()

    def _attempt(
        self,
        key: str,
        path: str,
        attempts: Attempts,
        deliver: Deliver,
        order: Callable[[int], tuple[Any, ...]],
    ) -> None:
        """Have one order answered, by as many children as are allowed to fail on it."""
        delivered = 0
        while True:
            child = self._ready_child()
            child.request(*order(delivered))
            try:
                while True:
                    header, payload = child.answer()
                    if header[0] != "chunk":
                        return deliver(_event(header, attempts.count(key) + 1))
                    deliver(("chunk", _chunk(header, payload)))
                    delivered += 1
            except ChildFailedError as failure:
                self._drop_child()
                # a killed run may have spent all attempts without a verdict: then this one gives it
                used = attempts.count(key)
                used = used if used >= self._limits.attempts else attempts.record(key)
                if used >= self._limits.attempts:
                    message = f"{shown_name(path)}: {failure}"
                    return deliver(("error", MediaError(failure.error_class, message, used)))

    def _ready_child(self) -> Answering:
        child = self._child
        if child is not None and (child.ended or child.videos >= self._limits.recycle_videos):
            self._drop_child()
        if self._child is None:
            self._child = self._start(self._limits)
        self._child.videos += 1
        self._child.stop = self._busy
        return self._child

    def _drop_child(self) -> None:
        if self._child is not None:
            self._child.close()
            self._child = None

    def _finish_reading(self) -> None:
        """Stop the reader thread and wait for it."""
        busy, reader, self._busy, self._reader = self._busy, self._reader, None, None
        if busy is not None and reader is not None:
            busy.set()
            reader.exception()

    def close(self) -> None:
        """End the reader thread and the child. May be called again."""
        self._finish_reading()
        self._drop_child()


def _decode_order(request: DecodeRequest) -> Callable[[int], tuple[Any, ...]]:
    return lambda skip: ("decode", request, skip)


def _chunk(header: tuple[Any, ...], payload: NDArray[np.uint8]) -> FrameChunk:
    _, index, pts, shape = header
    return FrameChunk(index, pts, payload.reshape(shape))


def _event(header: tuple[Any, ...], attempts: int) -> tuple[Any, ...]:
    """The last event of a video from the child's last message about it, the ``attempts``-th child's."""
    if header[0] == "end":
        return "end", header[1]
    if header[0] == "error":
        return "error", MediaError(header[1], header[2], attempts)
    return "error", DecoderUnavailableError(header[1])


def _take(events: queue.Queue[tuple[Any, ...]], reader: Future[None]) -> tuple[Any, ...]:
    """The next event; raises what ended the reader thread if there is none to come."""
    while True:
        try:
            return events.get(timeout=POLL_S)
        except queue.Empty:
            if reader.done() and events.empty():
                reader.result()
                raise RuntimeError("this decoding was closed: ask the client again") from None
