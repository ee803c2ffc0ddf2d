"""Where a worker's videos are decoded: in a child process beside it, or where its runner says."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from stages.decode.client import DecodedVideo, DecoderClient
from stages.decode.spec import DecodeRequest
from stages.stage import Attempts, WorkContext


class VideoDecoder(Protocol):
    """What workers know of their decoder."""

    def decode(self, requests: Iterable[DecodeRequest], attempts: Attempts) -> Iterator[DecodedVideo]:
        """The requested videos in order; see `DecoderClient.decode`."""

    def close(self) -> None:
        """Stop decoding. May be called again."""


def open_decoder(context: WorkContext) -> VideoDecoder:
    """A decoder for one worker: the runner's if it has one, else one with a child process of its own."""
    return DecoderClient(context.limits) if context.decoding is None else context.decoding(context.limits)


class SideBySide:
    """Several clients as one decoder: so many videos are decoded at the same time, and given in order.

    Args:
        clients: each decodes one video after the other; they are closed with this.
    """

    def __init__(self, clients: Sequence[DecoderClient]) -> None:
        self._clients = clients

    def decode(self, requests: Iterable[DecodeRequest], attempts: Attempts) -> Iterator[DecodedVideo]:
        """See `DecoderClient.decode`. Every client reads ahead as far as it would alone."""
        todo, shared = list(requests), _OneAtATime(attempts)
        step = len(self._clients)
        streams = [client.decode(todo[i::step], shared) for i, client in enumerate(self._clients)]
        ahead = deque((video, stream) for stream in streams for video in _next(stream))
        while ahead:
            video, stream = ahead.popleft()
            yield video
            ahead.extend((following, stream) for following in _next(stream))

    def close(self) -> None:
        """Close all clients."""
        for client in self._clients:
            client.close()


def _next(stream: Iterator[DecodedVideo]) -> list[DecodedVideo]:
    """The next video, whose decoding begins with it; empty at the end."""
    video = next(stream, None)
    return [] if video is None else [video]


class _OneAtATime:
    """Attempts that the clients' threads share."""

    def __init__(self, attempts: Attempts) -> None:
        self._attempts, self._lock = attempts, threading.Lock()

    def count(self, video: str) -> int:
        with self._lock:
            return self._attempts.count(video)

    def record(self, video: str) -> int:
        with self._lock:
            return self._attempts.record(video)
