"""Faults of networks and object stores, for rules of `tests.object_stores.proxy`."""

from __future__ import annotations

import datetime
import re
import time
from collections.abc import Callable
from email.utils import format_datetime
from xml.etree import ElementTree

from tests.object_stores.proxy import Answer, DropError, Fault, Request, error

_S3 = "http://s3.amazonaws.com/doc/2006-03-01/"

SLOW_DOWN = error(503, "SlowDown", "Please reduce your request rate.")
INTERNAL = error(500, "InternalError", "We encountered an internal error. Please try again.")
NOT_IMPLEMENTED = error(
    501, "NotImplemented", "A header you provided implies functionality that is not known."
)


def reset(request: Request, forward: Callable[[], Answer]) -> Answer:
    """The connection breaks before the request is carried out."""
    raise DropError


def lost_answer(request: Request, forward: Callable[[], Answer]) -> Answer:
    """The request is carried out, and the connection breaks before the answer."""
    forward()
    raise DropError


def hang(seconds: float) -> Fault:
    """No answer for ``seconds``, then the connection breaks."""

    def answer(request: Request, forward: Callable[[], Answer]) -> Answer:
        time.sleep(seconds)
        raise DropError

    return answer


def cut(request: Request, forward: Callable[[], Answer]) -> Answer:
    """Half of the body, then the connection breaks."""
    whole = forward()
    whole.sent = len(whole.body) // 2
    return whole


def shortened(request: Request, forward: Callable[[], Answer]) -> Answer:
    """A whole answer with fewer bytes than were asked for."""
    whole = forward()
    whole.body = whole.body[: len(whole.body) // 2]
    return whole


def forbidden_if_missing(request: Request, forward: Callable[[], Answer]) -> Answer:
    """No word on whether an object is there, for those who may not list the bucket."""
    whole = forward()
    refused = whole.status == 404 or request.action == "list"
    return error(403, "AccessDenied", "Access Denied")(request, forward) if refused else whole


def pages(size: int) -> Fault:
    """Unfinished uploads in pages of ``size``, by key and then by id, as S3 gives a thousand at a time."""

    def answer(request: Request, forward: Callable[[], Answer]) -> Answer:
        after = (request.query.get("key-marker", ""), request.query.get("upload-id-marker", ""))
        return _edited(forward(), lambda root: _page(root, after, size))

    return answer


def older(seconds: float) -> Fault:
    """An object, or unfinished uploads, that are older than they are by so many seconds."""

    def answer(request: Request, forward: Callable[[], Answer]) -> Answer:
        whole = forward()
        then = datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=seconds)
        date = format_datetime(then, usegmt=True)
        whole.headers = [(k, date if k.title() == "Last-Modified" else v) for k, v in whole.headers]
        begun = f"<Initiated>{then:%Y-%m-%dT%H:%M:%S.000Z}</Initiated>".encode()
        whole.body = re.sub(rb"<Initiated>[^<]*</Initiated>", begun, whole.body)
        return whole

    return answer


def listing_without(hidden: Callable[[str], bool]) -> Fault:
    """A listing in which keys that ``hidden`` accepts are missing, as if not there yet."""

    def answer(request: Request, forward: Callable[[], Answer]) -> Answer:
        return _edited(forward(), lambda root: _drop(root, hidden))

    return answer


def listing_with(key: str, size: int = 1) -> Fault:
    """A listing that shows ``key``, as if not gone yet, where the prefix and delimiter asked for allow it."""

    def answer(request: Request, forward: Callable[[], Answer]) -> Answer:
        prefix, delimiter = request.query.get("prefix", ""), request.query.get("delimiter", "")
        rest = key.removeprefix(prefix)
        if not key.startswith(prefix) or (delimiter and delimiter in rest):
            return forward()
        return _edited(forward(), lambda root: _add(root, key, size))

    return answer


def _edited(answer: Answer, edit: Callable[[ElementTree.Element], None]) -> Answer:
    if answer.status != 200:
        return answer
    ElementTree.register_namespace("", _S3)
    root = ElementTree.fromstring(answer.body)
    edit(root)
    count = root.find(f"{{{_S3}}}KeyCount")
    if count is not None:
        count.text = str(sum(len(root.findall(f"{{{_S3}}}{n}")) for n in ("Contents", "CommonPrefixes")))
    answer.body = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return answer


def _page(root: ElementTree.Element, after: tuple[str, str], size: int) -> None:
    def place(entry: ElementTree.Element) -> tuple[str, str]:
        return entry.findtext(f"{{{_S3}}}Key", ""), entry.findtext(f"{{{_S3}}}UploadId", "")

    found = sorted(root.findall(f"{{{_S3}}}Upload"), key=place)
    rest = [entry for entry in found if place(entry) > after]
    for entry in found:
        if entry not in rest[:size]:
            root.remove(entry)
    if len(rest) > size:
        key, upload = place(rest[size - 1])
        root.find(f"{{{_S3}}}IsTruncated").text = "true"
        for name, value in (("NextKeyMarker", key), ("NextUploadIdMarker", upload)):
            ElementTree.SubElement(root, f"{{{_S3}}}{name}").text = value


def _drop(root: ElementTree.Element, hidden: Callable[[str], bool]) -> None:
    for entry in root.findall(f"{{{_S3}}}Contents"):
        if hidden(entry.findtext(f"{{{_S3}}}Key", "")):
            root.remove(entry)


def _add(root: ElementTree.Element, key: str, size: int) -> None:
    entry = ElementTree.SubElement(root, f"{{{_S3}}}Contents")
    fields = {"Key": key, "LastModified": "2026-01-01T00:00:00.000Z", "ETag": '"0"', "Size": str(size)}
    for name, value in {**fields, "StorageClass": "STANDARD"}.items():
        ElementTree.SubElement(entry, f"{{{_S3}}}{name}").text = value
