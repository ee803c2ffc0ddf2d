"""One S3 server and one proxy in front of it, for all tests of this folder."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from tests.object_stores.proxy import Proxy
from tests.object_stores.server import serving

BUCKET = "tubeflow-test"


@pytest.fixture(scope="package")
def server() -> Iterator[int]:
    """The port of the S3 server, which holds an empty bucket."""
    with serving() as port:
        yield port


@pytest.fixture(scope="package")
def _proxy(server: int) -> Iterator[Proxy]:
    """The proxy, and its environment in this process too: stores open as they do for a user."""
    with Proxy(server) as proxy, pytest.MonkeyPatch.context() as patch:
        for name, value in proxy.env.items():
            patch.setenv(name, value)
        patch.delenv("AWS_PROFILE", raising=False)
        patch.delenv("AWS_SESSION_TOKEN", raising=False)
        import s3fs

        s3fs.S3FileSystem.clear_instance_cache()
        s3fs.S3FileSystem().mkdir(BUCKET)
        yield proxy
        s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture
def proxy(_proxy: Proxy) -> Proxy:
    """The proxy, without rules and records."""
    _proxy.forget()
    return _proxy


@pytest.fixture
def url(proxy: Proxy) -> str:
    """A store's address where nothing lies yet."""
    return f"s3://{BUCKET}/{uuid.uuid4().hex[:8]}/store"
