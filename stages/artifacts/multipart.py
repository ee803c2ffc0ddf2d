"""Multipart uploads that were begun and never completed: what a killed process leaves on S3.

No reader sees their parts, but they are stored, and paid for, until someone aborts them.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from stages.artifacts.place import Place, Url


@dataclass(frozen=True)
class Upload:
    """An upload that has not been completed.

    Attributes:
        path: the object it would have become.
        id: the store's name for it.
        begun: when, by the store's clock; in UTC.
        bytes: of the parts that have arrived.
    """

    path: Url
    id: str
    begun: datetime.datetime
    bytes: int


def unfinished(store: Place, before: datetime.datetime) -> list[Upload]:
    """Uploads to objects below ``store`` that were begun ``before`` (with time zone) and not completed, by
    path. Stores on other protocols than S3 know none.

    Uploads of a living run look the same: pass the start of the earliest one.

    Raises:
        StoreError: the store can't be asked.
    """
    if not isinstance(store, Url) or not store.on_s3:
        return []
    found = []
    for upload in _pages(store):
        begun = upload["Initiated"].astimezone(datetime.UTC)
        if begun < before:
            path = store / upload["Key"].removeprefix(_prefix(store))
            found.append(Upload(path, upload["UploadId"], begun, _arrived(store, upload)))
    return sorted(found, key=lambda upload: (str(upload.path), upload.begun))


def abort(upload: Upload) -> None:
    """Remove the parts of ``upload``; whoever still sends some gets an error. None left is no error.

    Raises:
        StoreError: the store can't be asked.
    """
    bucket, key, _ = upload.path.fs.split_path(upload.path.path)
    try:
        _call(upload.path, "abort_multipart_upload", Bucket=bucket, Key=key, UploadId=upload.id)
    except FileNotFoundError:
        return  # completed or aborted meanwhile


def _pages(store: Url) -> Iterator[dict[str, Any]]:
    bucket, _, _ = store.fs.split_path(store.path)
    asked = {"Bucket": bucket, "Prefix": _prefix(store)}
    while True:
        page = _call(store, "list_multipart_uploads", **asked)
        yield from page.get("Uploads", [])
        if not page.get("IsTruncated"):
            return
        asked |= {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page["NextUploadIdMarker"]}


def _arrived(store: Url, upload: dict[str, Any]) -> int:
    bucket, _, _ = store.fs.split_path(store.path)
    asked = {"Bucket": bucket, "Key": upload["Key"], "UploadId": upload["UploadId"]}
    total = 0
    while True:
        try:
            page = _call(store, "list_parts", **asked)
        except FileNotFoundError:
            return total
        total += sum(part["Size"] for part in page.get("Parts", []))
        if not page.get("IsTruncated"):
            return total
        asked["PartNumberMarker"] = page["NextPartNumberMarker"]


def _prefix(store: Url) -> str:
    _, key, _ = store.fs.split_path(store.path)
    return f"{key.rstrip('/')}/" if key.strip("/") else ""


def _call(place: Url, method: str, **asked: Any) -> dict[str, Any]:
    answer = place.ask("ask for unfinished uploads of", lambda: place.fs.call_s3(method, **asked))
    return dict(answer or {})
