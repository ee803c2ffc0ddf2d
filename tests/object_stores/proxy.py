"""An HTTP proxy in front of the S3 server: it records every request and fails those that rules name."""

from __future__ import annotations

import http.client
import re
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

from tests.object_stores.server import ACCESS_KEY, settings


class DropError(Exception):
    """The connection is to be closed without a (whole) answer."""


@dataclass
class Answer:
    """A response; ``sent`` bytes of the body go out before the connection is dropped (None: all of it)."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes = b""
    sent: int | None = None


@dataclass
class Request:
    """What a client asked for.

    Attributes:
        action: ``get``, ``head``, ``put``, ``delete``, ``delete_many``, ``list``, ``begin``, ``part``,
            ``complete``, ``abort``, ``uploads`` or ``bucket``.
        range: first and last byte asked for, or None.
        size: bytes of the body.
        status: that of the answer; 0 where the connection was dropped.
        at: seconds of the monotonic clock at which the answer was ready.
    """

    action: str
    bucket: str
    key: str
    query: dict[str, str]
    headers: dict[str, str]
    size: int
    status: int = 0
    at: float = 0.0

    @property
    def range(self) -> tuple[int, int] | None:
        found = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("range", ""))
        return (int(found[1]), int(found[2])) if found else None

    @property
    def conditional(self) -> bool:
        """Whether it creates an object only where there is none."""
        return self.headers.get("if-none-match") == "*"


Fault = Callable[[Request, Callable[[], Answer]], Answer]


@dataclass
class Rule:
    """Every ``every``-th request that ``on`` accepts meets ``fault``, at most ``times`` times."""

    fault: Fault
    on: Callable[[Request], bool] = lambda request: True
    every: int = 1
    times: int | None = None
    seen: int = 0
    met: int = 0

    def applies(self, request: Request) -> bool:
        """Counts ``request``, and says whether it meets the fault."""
        if not self.on(request) or (self.times is not None and self.met >= self.times):
            return False
        self.seen += 1
        hit = self.seen % self.every == 0
        self.met += hit
        return hit


@dataclass
class Proxy:
    """Forwards to the server on ``upstream``; start and end it with ``with``."""

    upstream: int
    rules: list[Rule] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        handler = type("Handler", (_Handler,), {"proxy": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> Proxy:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def env(self) -> dict[str, str]:
        """The environment in which a store lies behind this proxy."""
        return settings(self.port)

    def fault(self, request: Request) -> Fault | None:
        """The first rule's fault that ``request`` meets."""
        with self._lock:
            self.requests.append(request)
            return next((rule.fault for rule in self.rules if rule.applies(request)), None)

    def seen(self, *actions: str, key: str = "") -> list[Request]:
        """Requests of these actions (none: all) whose key matches the pattern ``key``, in order."""
        with self._lock:
            found = list(self.requests)
        return [r for r in found if (not actions or r.action in actions) and re.search(key, r.key)]

    def forget(self) -> None:
        """Drop rules and records."""
        with self._lock:
            self.rules.clear()
            self.requests.clear()


class _Handler(BaseHTTPRequestHandler):
    proxy: Proxy
    protocol_version = "HTTP/1.1"

    def _serve(self) -> None:
        body = self._body()
        request = _parsed(self.command, self.path, self.headers.items(), len(body))
        fault = self.proxy.fault(request)
        try:
            answer = _refused(request)
            if answer is None and fault is not None:
                answer = fault(request, lambda: self._forward(body))
            self._send(request, answer or self._forward(body))
        except (DropError, BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _serve

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _forward(self, body: bytes) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.proxy.upstream, timeout=60)
        try:
            dropped = {"transfer-encoding", "content-length", "expect", "connection"}
            headers = {k: v for k, v in self.headers.items() if k.lower() not in dropped}
            headers["Content-Length"] = str(len(body))
            connection.request(self.command, self.path, body, headers)
            got = connection.getresponse()
            skipped = {"connection", "transfer-encoding", "server", "date"}
            kept = [(k, v) for k, v in got.getheaders() if k.lower() not in skipped]
            return Answer(got.status, kept, got.read())
        finally:
            connection.close()

    def _send(self, request: Request, answer: Answer) -> None:
        request.status, request.at = answer.status, time.monotonic()
        self.send_response(answer.status)
        if self.command != "HEAD" and answer.status not in (204, 304):
            answer.headers = [(k, v) for k, v in answer.headers if k.lower() != "content-length"]
            answer.headers.append(("Content-Length", str(len(answer.body))))
        for name, value in answer.headers:
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body[: answer.sent])
        if answer.sent is not None:
            self.wfile.flush()
            raise DropError

    def log_message(self, format: str, *args: object) -> None:
        pass


def _parsed(method: str, target: str, headers: Iterable[tuple[str, str]], size: int) -> Request:
    url = urlsplit(target)
    bucket, _, key = unquote(url.path).lstrip("/").partition("/")
    query = {k: v[0] for k, v in parse_qs(url.query, keep_blank_values=True).items()}
    names = {name.lower(): value for name, value in headers}
    return Request(_action(method, bucket, key, query), bucket, key, query, names, size)


def _action(method: str, bucket: str, key: str, query: dict[str, str]) -> str:
    if not key:
        if method == "GET" and bucket:
            return "uploads" if "uploads" in query else "list"
        return "delete_many" if method == "POST" else "bucket"
    if method == "POST":
        return "begin" if "uploads" in query else "complete"
    if "uploadId" in query:
        return {"PUT": "part", "DELETE": "abort"}.get(method, "parts")
    return method.lower()


def _refused(request: Request) -> Answer | None:
    """The server itself takes any credentials; another access key than the test's is refused here."""
    if f"Credential={ACCESS_KEY}/" in request.headers.get("authorization", ""):
        return None
    return error(403, "InvalidAccessKeyId", "The Access Key Id you provided does not exist in our records.")(
        request, lambda: Answer(403, [])
    )


def error(status: int, code: str, message: str = "Please try again.") -> Fault:
    """An S3 error, and nothing reaches the server."""
    text = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message></Error>"

    def answer(request: Request, forward: Callable[[], Answer]) -> Answer:
        body = b"" if request.action == "head" else text.encode()
        return Answer(status, [("Content-Type", "application/xml")], body)

    return answer
