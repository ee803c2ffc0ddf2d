"""Uploads that were never completed are found below their store, and aborted; what is complete stays."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest

from stages.artifacts.multipart import abort, unfinished
from stages.artifacts.place import Url, place
from tests.object_stores import faults
from tests.object_stores.proxy import Proxy, Rule, error

MIB = 2**20


def opened(url: str) -> Url:
    """The store at ``url``."""
    store = place(url)
    assert isinstance(store, Url)
    return store


def begin(path: Url, *parts: int) -> str:
    """Begin an upload to ``path`` with parts of so many bytes, as a process that is killed would leave it."""
    bucket, key, _ = path.fs.split_path(path.path)
    upload = path.fs.call_s3("create_multipart_upload", Bucket=bucket, Key=key)["UploadId"]
    for number, size in enumerate(parts, 1):
        sent = {"PartNumber": number, "UploadId": upload, "Body": bytes(size)}
        path.fs.call_s3("upload_part", Bucket=bucket, Key=key, **sent)
    return str(upload)


def now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=1)


def test_what_was_begun_is_found_below_its_store_alone(url: str) -> None:
    store = opened(url)
    (store / "done").put(b"done")
    first = begin(store / "features" / "x" / "shards" / "a.tar", 5 * MIB, 100)
    begin(opened(url + "2") / "other")
    (found,) = unfinished(store, now())
    assert found.path == store / "features/x/shards/a.tar" and found.id == first
    assert found.bytes == 5 * MIB + 100
    assert unfinished(store, found.begun) == []
    assert unfinished(store, found.begun - datetime.timedelta(hours=1)) == []
    assert not found.path.exists()


def test_many_uploads_come_in_pages(url: str, proxy: Proxy) -> None:
    """The server here gives all at once; the proxy makes pages of two, one of which ends within an object."""
    store = opened(url)
    begun = [(name, begin(store / name)) for name in ("a", "b", "b", "b", "c")]
    proxy.rules.append(Rule(faults.pages(2), on=lambda r: r.action == "uploads"))
    found = unfinished(store, now())
    assert sorted((upload.path.name, upload.id) for upload in found) == sorted(begun)
    assert len(proxy.seen("uploads")) == 3


def test_aborted_uploads_are_gone_and_objects_stay(url: str) -> None:
    store = opened(url)
    (store / "a").put(b"whole")
    begin(store / "a", 100)
    begin(store / "a", 200)
    found = unfinished(store, now())
    assert sorted(upload.bytes for upload in found) == [100, 200]
    for upload in [*found, found[0]]:
        abort(upload)
    assert unfinished(store, now()) == []
    assert (store / "a").read_bytes() == b"whole"


def test_an_upload_that_fails_takes_its_parts_along(url: str, proxy: Proxy) -> None:
    """The library aborts it itself, as long as its process lives."""
    store = opened(url)
    proxy.rules.append(Rule(error(403, "AccessDenied"), on=lambda r: r.action == "complete"))
    with pytest.raises(PermissionError):
        store.fs.pipe_file((store / "big").path, bytes(11 * MIB), chunksize=5 * MIB)
    sent = [request.action for request in proxy.seen("begin", "part", "complete", "abort")]
    assert sent == ["begin", *["part"] * 3, "complete", "abort"]
    assert unfinished(store, now()) == []
    assert not (store / "big").exists()


def test_local_stores_have_none(tmp_path: Path) -> None:
    assert unfinished(tmp_path, now()) == []
