"""The process that decodes: ``python -m stages.decode.child SOCKET LIFE MEMORY_MB``.

It may crash, hang or grow without harm to its parent. It imports neither torch nor ray, decodes in one thread
(another one only sends), and ends when its parent ends.
"""

from __future__ import annotations

import fcntl
import os
import resource
import signal
import socket
import sys
import time
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any

from stages.decode.decoders.base import DecoderUnavailableError, Picture
from stages.decode.protocol import ClosedError, Link
from stages.decode.source import Source, identity, probe
from stages.decode.spec import DecodeRequest
from stages.outcome import MediaError

TICK_S = 0.5
"""At most this often the parent hears that work goes on."""
SLACK_MB = 1024
"""How far the limit that the kernel enforces lies above the one that the parent watches."""


class Worker:
    """Answers the parent's requests, one at a time."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._source: Source | None = None
        self._ticked = 0.0
        self._sender = ThreadPoolExecutor(1, "sender")
        self._sending: Future[None] | None = None

    def send(self, header: Any, array: Picture | None = None) -> Future[None]:
        """Send one message while work goes on; waits for the message before, so one is under way.

        Raises:
            ClosedError: if the parent is gone.
        """
        if self._sending is not None:
            self._sending.result()
        self._sending = self._sender.submit(self._link.send, header, array)
        return self._sending

    def tick(self) -> None:
        """Tell the parent that work goes on, unless it has something to read anyway."""
        now = time.monotonic()
        if now - self._ticked > TICK_S and (self._sending is None or self._sending.done()):
            self._ticked = now
            self.send(("tick",))

    def serve(self) -> None:
        """Answer requests until the parent closes the socket."""
        while True:
            (order, *arguments), _ = self._link.receive()
            self._ticked = time.monotonic()
            try:
                if order == "probe":
                    self.send(("end", probe(arguments[0], self.tick)))
                else:
                    self._decode(*arguments)
            except MediaError as error:
                self.send(("error", error.error_class, error.message))
            except DecoderUnavailableError as error:
                self.send(("unavailable", str(error)))

    def _decode(self, request: DecodeRequest, skip: int) -> None:
        source = self._open(request.path, request.spec.decoder, request.clock)
        for number, chunk in enumerate(source.chunks(request)):
            if number >= skip:
                self.send(("chunk", chunk.index, chunk.pts, chunk.rgb.shape), chunk.rgb)
        self.send(("end", {"decoder": source.decoder.used, **source.outline(request)}))

    def _open(self, path: str, decoder: str, clock: float | None) -> Source:
        if self._source is None or self._source.identity != identity(path, decoder, clock):
            if self._source is not None:
                self._source.decoder.close()
                self._source = None
            self._source = Source(path, decoder, clock, self.tick)
        return self._source


def die_with(life: int) -> None:
    """Let the kernel end this process once the other end of the pipe ``life`` is closed.

    It sends SIGIO then, whose default action ends the process even in the middle of a C library's loop.
    """
    fcntl.fcntl(life, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(life, fcntl.F_SETFL, fcntl.fcntl(life, fcntl.F_GETFL) | os.O_ASYNC)


def main() -> None:
    """Serve the parent at the other end of the socket until it goes."""
    end, life, memory_mb = (int(text) for text in sys.argv[1:4])
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    die_with(life)
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    most = (memory_mb + SLACK_MB) << 20
    resource.setrlimit(resource.RLIMIT_DATA, (most if hard < 0 else min(most, hard), hard))
    worker = Worker(Link(socket.socket(fileno=end)))

    def last_words(kind: type[BaseException], error: BaseException, _: TracebackType | None) -> None:
        if kind is not ClosedError:
            worker.send(
                ("failed", "memory" if issubclass(kind, MemoryError) else "crash", kind.__name__)
            ).result()

    sys.excepthook = last_words
    worker.send(("ready",))
    # from here on whatever libraries print is noise
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    worker.serve()


if __name__ == "__main__":
    main()
