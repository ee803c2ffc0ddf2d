"""TFRecord files and the ``tf.train.Example`` in a record, without TensorFlow.

A record is its length (uint64, little endian), the masked CRC-32C of these eight bytes, the data, and the
masked CRC-32C of the data. A record is named by the path of its file, ``#`` and the offset of its first byte;
see `stages.decode.names.split_record`.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from crc32c import crc32c

from stages.decode.classify import media_error, unreadable
from stages.decode.names import split_record
from stages.outcome import MediaError

_HEAD = struct.Struct("<QI")
_CRC = struct.Struct("<I")
_DAMAGED = "copy or download the file again"

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FEATURES, _ENTRY, _KEY, _VALUE, _BYTES_LIST, _ITEM = 1, 1, 1, 2, 1, 1
"""Field numbers: Example.features, Features.feature, an entry's key, its value, its bytes_list, an item."""


def masked_crc(data: bytes) -> int:
    """The CRC-32C of ``data`` as records store it: rotated by 15 bits, plus a constant, modulo 2**32."""
    crc = crc32c(data)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def offsets(path: str) -> Iterator[tuple[int, int]]:
    """``(offset, bytes of data)`` of every record, from the records' heads alone: 12 bytes read for each.

    What is damaged comes last, as ``(offset, -1)``, because nothing after it can be found: a record whose
    head is wrong or cut off, or whose data reach beyond the end of the file. A file without bytes gives
    ``(0, -1)``.

    Raises:
        OSError: the file can't be read.
    """
    with Path(path).open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        at = 0
        while at < size or at == 0:
            try:
                length = _length(file, at, size, path)
            except MediaError:
                yield at, -1
                return
            yield at, length
            at += _HEAD.size + length + _CRC.size


def record_bytes(path: str) -> int:
    """Bytes of data in the record ``path`` (``<file>#<offset>``), from its head.

    Raises:
        MediaError: ``unreadable`` or ``truncated``.
    """
    name, at = _split(path)
    try:
        with Path(name).open("rb") as file:
            return _length(file, at, os.fstat(file.fileno()).st_size, path)
    except OSError as error:
        raise unreadable(name, error) from error


def read_record(path: str) -> bytes:
    """The data of the record ``path`` (``<file>#<offset>``), both checksums compared.

    Raises:
        MediaError: ``truncated`` where the file ends within the record; ``unreadable`` where a checksum does
            not fit or the file can't be read.
    """
    name, at = _split(path)
    try:
        with Path(name).open("rb") as file:
            length = _length(file, at, os.fstat(file.fileno()).st_size, path)
            data, stored = file.read(length), file.read(_CRC.size)
    except OSError as error:
        raise unreadable(name, error) from error
    if len(data) < length or len(stored) < _CRC.size:
        raise _cut(path)
    if _CRC.unpack(stored)[0] != masked_crc(data):
        raise media_error(path, "unreadable", f"the record's data don't fit their checksum: {_DAMAGED}")
    return data


def _split(path: str) -> tuple[str, int]:
    found = split_record(path)
    if found is None:
        raise ValueError(f"{path!r} names no record, expected <file>.tfrecord-XXXXX-of-YYYYY#<offset>")
    return found


def _length(file: BinaryIO, at: int, size: int, path: str) -> int:
    """Bytes of data of the record at ``at``, which lies wholly in the file; the file is left at its data."""
    file.seek(at)
    head = file.read(_HEAD.size)
    if len(head) < _HEAD.size:
        raise _cut(path)
    length, crc = _HEAD.unpack(head)
    if crc != masked_crc(head[:8]):
        what = "the record's length doesn't fit its checksum, so records after it can't be found either"
        raise media_error(path, "unreadable", f"{what}: {_DAMAGED}")
    if at + _HEAD.size + length + _CRC.size > size:
        raise _cut(path)
    return length


def _cut(path: str) -> MediaError:
    return media_error(path, "truncated", f"the file ends within this record: {_DAMAGED}")


def parse_example(data: bytes, path: str) -> dict[str, list[bytes]]:
    """The lists of bytes in a serialised ``tf.train.Example``, by feature; lists of numbers read as empty.

    Raises:
        MediaError: ``unreadable``: the data are no ``Example``; ``path`` is named.
    """
    found: dict[str, list[bytes]] = {}
    try:
        for features in _fields(memoryview(data), _FEATURES):
            for entry in _fields(features, _ENTRY):
                key = b"".join(_fields(entry, _KEY)).decode()
                lists = [part for value in _fields(entry, _VALUE) for part in _fields(value, _BYTES_LIST)]
                found[key] = [bytes(item) for part in lists for item in _fields(part, _ITEM)]
    except ValueError as error:
        raise media_error(path, "unreadable", f"the record is no tf.train.Example: {error}") from error
    return found


def _fields(message: memoryview, number: int) -> Iterator[memoryview]:
    """The length-delimited fields ``number`` of a protobuf message; other fields are passed over."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        kind, start = tag & 7, at
        if kind == _VARINT:
            _, at = _varint(message, at)
        elif kind == _BYTES:
            length, start = _varint(message, at)
            at = start + length
        elif kind in (_FIXED64, _FIXED32):
            at += 8 if kind == _FIXED64 else 4
        else:
            raise ValueError(f"wire type {kind} is unknown")
        if at > len(message):
            raise ValueError("a field reaches beyond its message")
        if tag >> 3 == number and kind == _BYTES:
            yield message[start:at]


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 64, 7):
        if at >= len(message):
            break
        byte = message[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise ValueError("a number has no end")
