"""USTAR member headers with fixed metadata, so that equal members give equal bytes.

Written here rather than by `tarfile`, whose header bytes have changed between Python versions.
"""

from __future__ import annotations

BLOCK = 512
END = bytes(2 * BLOCK)
"""The two zero blocks that end an archive."""

_MAX_NAME = 100
_MAX_SIZE = 8**11 - 1


def padding(size: int) -> int:
    """Zero bytes that follow ``size`` bytes of data up to the next block."""
    return -size % BLOCK


def header(name: str, size: int) -> bytes:
    """The 512-byte header of a regular file: mode 0644, owner 0, time 0.

    Raises:
        ValueError: if the name takes more than 100 bytes of UTF-8 or ``size`` is 8 GiB or more.
    """
    encoded = name.encode()
    if not 0 < len(encoded) <= _MAX_NAME:
        raise ValueError(f"the tar member name {name!r} has {len(encoded)} bytes, USTAR allows {_MAX_NAME}")
    if not 0 <= size <= _MAX_SIZE:
        raise ValueError(f"the tar member {name!r} has {size} bytes, USTAR allows {_MAX_SIZE}")
    zero = b"0000000\0"
    before = (
        encoded.ljust(_MAX_NAME, b"\0") + b"0000644\0" + zero + zero + b"%011o\0" % size + b"0" * 11 + b"\0"
    )
    after = b"0" + bytes(100) + b"ustar\x0000" + bytes(64) + zero + zero + bytes(155) + bytes(12)
    checksum = sum(before) + sum(after) + 8 * ord(" ")
    return before + b"%06o\0 " % checksum + after
