"""One S3 server, one proxy in front of it, and one undisturbed run, for all tests of this folder."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests import cli
from tests.media import make_corpus
from tests.object_stores.content import Content
from tests.object_stores.proxy import Proxy, Request
from tests.object_stores.server import serving, settings

BUCKET = "tubeflow-test"
VIDEOS, FRAMES, PER_SHARD, SHARDS = 6, 6, 2, 4
"""The corpus: six videos and an empty file, two files per shard; the last one holds the file alone."""

Command = Callable[..., list[object]]


def fresh() -> str:
    """A store's address where nothing lies yet."""
    return f"s3://{BUCKET}/{uuid.uuid4().hex[:8]}/store"


@pytest.fixture(scope="package")
def server() -> Iterator[int]:
    """The port of the S3 server, which holds one empty bucket."""
    with serving() as port, pytest.MonkeyPatch.context() as patch:
        for name, value in settings(port).items():
            patch.setenv(name, value)
        for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL"):
            patch.delenv(name, raising=False)
        Content(port, f"s3://{BUCKET}")._fs.mkdir(BUCKET)
        yield port


@pytest.fixture(scope="package")
def _proxy(server: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """The proxy; this process and those it starts open stores through it, as a user does."""
    import s3fs

    with Proxy(server) as proxy, pytest.MonkeyPatch.context() as patch:
        for name, value in proxy.env.items():
            patch.setenv(name, value)
        patch.setenv("TUBEFLOW_SCRATCH", str(tmp_path_factory.mktemp("scratch")))
        s3fs.S3FileSystem.clear_instance_cache()
        yield proxy
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture
def proxy(_proxy: Proxy) -> Iterator[Proxy]:
    """The proxy, without rules and records."""
    _proxy.forget()
    yield _proxy
    _proxy.forget()


@pytest.fixture
def url(proxy: Proxy) -> str:
    """A store's address where nothing lies yet."""
    return fresh()


@pytest.fixture
def content(url: str, server: int) -> Content:
    """What lies at ``url``."""
    return Content(server, url)


@pytest.fixture(scope="package")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six small videos and a broken one."""
    root = make_corpus(tmp_path_factory.mktemp("corpus") / "videos", VIDEOS, frames=FRAMES)
    (root / "empty.mp4").touch()
    return root


@pytest.fixture(scope="package")
def command(corpus: Path) -> Command:
    """Arguments of a run on the corpus: ``command(store, *more)``."""

    def arguments(store: object, *more: object) -> list[object]:
        options = ["--set", f"layout.shard_videos={PER_SHARD}", "--max-failed", 3]
        runner = [] if "--runner" in more else ["--runner", "local"]
        return cli.features(corpus, store, *options, *runner, *more)  # type: ignore[arg-type]

    return arguments


@pytest.fixture(scope="package")
def reference(command: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The local store of an undisturbed run."""
    store = tmp_path_factory.mktemp("reference") / "store"
    cli.run(*command(store))
    return store


@dataclass(frozen=True)
class Base:
    """An undisturbed run on the object store: what it printed, asked for and left."""

    url: str
    content: Content
    requests: tuple[Request, ...]
    result: dict[str, Any]


@pytest.fixture(scope="package")
def base(command: Command, _proxy: Proxy, server: int) -> Base:
    """Shared by the tests and changed by none of them."""
    url = fresh()
    _proxy.forget()
    result = cli.run_json(*command(url))
    return Base(url, Content(server, url), tuple(_proxy.requests), result)


@pytest.fixture
def copied(base: Base, content: Content, url: str) -> str:
    """The address of a finished store of the test's own."""
    base.content.copy_to(content)
    return url
