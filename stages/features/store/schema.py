"""What the members of a feature shard are called, and the columns of its manifest."""

from __future__ import annotations

import io
import re
from functools import lru_cache

import numpy as np
import pyarrow as pa

FEATURE_ROWS = pa.schema(
    [
        ("video", pa.string()),
        ("frame", pa.int64()),  # index of the frame in the source; of the clip, where clips are stored
        ("pts", pa.float64()),  # presentation time, seconds
        ("view", pa.string()),
        ("facet", pa.string()),
        ("shard", pa.string()),
        ("offset", pa.int64()),  # of the member's data (the .npy file), in bytes from the start of the shard
        ("size", pa.int64()),  # of the member's data in bytes, .npy header included
        ("dtype", pa.string()),
        ("shape", pa.list_(pa.int32())),
        ("crc32c", pa.uint32()),  # of the same `size` bytes
    ],
    metadata=None,
)
"""One row per member. The array itself is the last ``itemsize * prod(shape)`` bytes of the member."""

BASE_VIEW = "base"
BANK_VIEW = "bank"
"""The only view whose frames are not those of the video: clips drawn from it, one after the other."""
SCALE_SUFFIX = "_scale"
"""Ends the facet of the member that holds the factors of an int8 member; no other facet may end so."""

_WORD = re.compile(r"[a-z][a-z0-9_]*")


def check_video(video: str) -> None:
    """Refuse ids that webdataset would not take as one key.

    Raises:
        ValueError: for an empty id or one with a dot, a slash or a NUL.
    """
    if not video or any(c in video for c in "./\0"):
        raise ValueError(f"{video!r} can't be a key of a shard: it is empty or has a dot, a slash or a NUL")


def check_word(word: str, what: str) -> None:
    """Refuse names of facets and views that would not survive a member name.

    Raises:
        ValueError: unless ``word`` is lower-case letters, digits and underscores, a letter first.
    """
    if not _WORD.fullmatch(word) or word.endswith(SCALE_SUFFIX):
        raise ValueError(
            f"{word!r} can't name a {what}: use lower-case letters, digits and underscores, a letter first, "
            f"and don't end it in {SCALE_SUFFIX}"
        )


def member_name(video: str, frame: int, facet: str, view: str = BASE_VIEW) -> str:
    """``<video>.f00012.<facet>.npy``, or ``<video>.f00012.<view>.<facet>.npy`` for other views than base."""
    middle = facet if view == BASE_VIEW else f"{view}.{facet}"
    return f"{video}.f{frame:05d}.{middle}.npy"


@lru_cache(maxsize=1024)
def npy_header(dtype: str, shape: tuple[int, ...]) -> bytes:
    """The version 1.0 header of a C-ordered ``.npy`` file; its length is a multiple of 64 bytes."""
    buffer = io.BytesIO()
    descr = np.lib.format.dtype_to_descr(np.dtype(dtype).newbyteorder("<"))
    np.lib.format.write_array_header_1_0(buffer, {"descr": descr, "fortran_order": False, "shape": shape})
    return buffer.getvalue()
