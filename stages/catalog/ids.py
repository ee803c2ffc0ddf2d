"""Names of videos: readable, safe as tar and webdataset keys, and reversible to the file's path.

A *uri* is a path relative to the data root with its bytes percent-quoted, so any file name survives; ``.`` is
the root itself. A *source id* names a file or folder, a *video id* a segment of it:

* ``A-Z a-z 0-9 _ -`` stay, ``/`` becomes ``+``, ``.`` becomes ``@``, any other byte becomes ``=XX`` (hex); a
  leading ``-`` or ``.`` becomes ``=2D`` or ``=2E``. ``day 1/clip_01.mp4`` is ``day=201+clip_01@mp4``.
* Where that would be longer than `MAX_SOURCE_BYTES`, the id is the head of the file's name, ``~~`` and 24 hex
  digits of the SHA-256 of the whole path; only the catalog's ``uri`` column reverses such an id.
* Segment n of a source with several segments adds ``~`` and n, in at least four digits: ``clip_01@mp4~0001``.
"""

from __future__ import annotations

import hashlib
import os
import re
from urllib.parse import quote_from_bytes, unquote_to_bytes

MAX_BYTES = 64
"""Longest video id: it leaves 36 of a USTAR name's 100 bytes, for ``.f00012.photo0.queries_scale.npy``."""
MAX_SOURCE_BYTES = 56
"""Longest source id: leaves room for the segment's suffix."""

_DIGEST_DIGITS = 24
_MAX_SEGMENT = 10 ** (MAX_BYTES - MAX_SOURCE_BYTES - 1) - 1
_KEEP = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-")
_TOKENS = [chr(b) if b in _KEEP else f"={b:02X}" for b in range(256)]
_TOKENS[ord("/")] = "+"
_TOKENS[ord(".")] = "@"
_SHORT = re.compile(r"(?:[A-Za-z0-9_+@-]|=[0-9A-F]{2})+")
_SHORTENED = re.compile(rf".*~~[0-9a-f]{{{_DIGEST_DIGITS}}}")
_SEGMENT = re.compile(r"(?<!~)~([0-9]{4,})$")


def uri_from_path(relative: bytes) -> str:
    """The uri of a path (bytes, relative to the data root)."""
    return quote_from_bytes(relative, safe="/")


def path_of(root: str, uri: str) -> str:
    """The path of ``uri`` below ``root``, as `os.fsdecode` gives it (undecodable bytes as surrogates)."""
    return os.path.join(root, os.fsdecode(unquote_to_bytes(uri)))  # noqa: PTH118 - Path would drop "."


def source_id(uri: str) -> str:
    """The id of the file or folder ``uri``: at most `MAX_SOURCE_BYTES` ASCII characters."""
    path = unquote_to_bytes(uri)
    if not path:
        raise ValueError("an empty uri has no id; the data root itself is '.'")
    text = _encode(path)
    if len(text) <= MAX_SOURCE_BYTES:
        return text
    digest = hashlib.sha256(path).hexdigest()[:_DIGEST_DIGITS]
    head = _cut(_encode(path.rsplit(b"/", 1)[-1] or path), MAX_SOURCE_BYTES - 2 - _DIGEST_DIGITS)
    return f"{head}~~{digest}"


def video_id(uri: str, segment: int | None = None) -> str:
    """The id of segment ``segment`` (from 0) of ``uri``, or of the whole source where it is None.

    Raises:
        ValueError: for an empty uri or a segment outside 0..9999999.
    """
    if segment is None:
        return source_id(uri)
    if not 0 <= segment <= _MAX_SEGMENT:
        raise ValueError(
            f"segment {segment} of {uri} is outside 0..{_MAX_SEGMENT}; raise data.segment_frames"
        )
    return f"{source_id(uri)}~{segment:04d}"


def split_video(video: str) -> tuple[str, int | None]:
    """The source id and the segment (None for a whole source) that a video id consists of."""
    match = _SEGMENT.search(video)
    return (video, None) if match is None else (video[: match.start()], int(match[1]))


def uri_of(video: str) -> str:
    """The uri that a video id or source id was made from.

    Raises:
        LookupError: for a shortened id, which only the catalog's ``uri`` column can reverse.
        ValueError: for text that is no id.
    """
    source, _ = split_video(video)
    if _SHORTENED.fullmatch(source):
        raise LookupError(f"{source} is a shortened id: its uri is in the catalog's uri column")
    if not _SHORT.fullmatch(source) or len(source) > MAX_SOURCE_BYTES:
        raise ValueError(f"{video!r} is not a video id")
    quoted = source.replace("+", "/").replace("@", ".").replace("=", "%")
    uri = uri_from_path(unquote_to_bytes(quoted))
    if source_id(uri) != source:
        raise ValueError(f"{video!r} is not a video id: {uri} has the id {source_id(uri)}")
    return uri


def _encode(path: bytes) -> str:
    text = "".join([_TOKENS[b] for b in path])
    return f"={path[0]:02X}{text[1:]}" if path[:1] in (b"-", b".") else text


def _cut(text: str, length: int) -> str:
    """The first ``length`` characters, without a broken escape at the end."""
    head = text[:length]
    return head[: head.rfind("=")] if "=" in head[-2:] and len(text) > length else head
