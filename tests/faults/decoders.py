"""Decoders registered by their import path: a slow one, and some that misbehave on chosen files.

What a file does is said by its name, or by a hidden file beside it, so that it can change between runs.
"""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from stages.decode.classify import media_error
from stages.decode.decoders.base import Picture
from stages.decode.decoders.decord_ import AutoDecoder

SLOW = "decode.decoder=tests.faults.decoders:SlowDecoder"
BAD = "decode.decoder=tests.faults.decoders:BadDecoder"
SECONDS_PER_FRAME = 0.02


class SlowDecoder(AutoDecoder):
    """Takes its time over every frame, so that a run can be met in the middle."""

    def pictures(self, wanted: Sequence[int], size: tuple[int, int] | None = None) -> Iterator[Picture]:
        for picture in super().pictures(wanted, size):
            time.sleep(SECONDS_PER_FRAME)
            yield picture


class BadDecoder(AutoDecoder):
    """Crashes, hangs, grows or fails on files called so; leaves one byte per try in a file beside them."""

    def pictures(self, wanted: Sequence[int], size: tuple[int, int] | None = None) -> Iterator[Picture]:
        name = Path(self._path).name
        with tries(self._path).open("ab") as file:
            file.write(b".")
        if name.startswith("segfault"):
            ctypes.string_at(0)
        if name.startswith("exit"):
            os._exit(7)
        if name.startswith("hang"):
            time.sleep(3600)
        if name.startswith("grow"):
            kept = []
            while True:
                kept.append(bytearray(os.urandom(1 << 20) * 16))
                time.sleep(0.01)
        if name.startswith("slow"):
            time.sleep(1)
        if verdict(self._path).exists():
            raise media_error(self._path, "decode_error", "its decoder was told to fail")
        yield from super().pictures(wanted, size)


def tries(path: str | Path) -> Path:
    """Where a file's tries are counted, in bytes."""
    return Path(path).with_name(f".{Path(path).name}.tries")


def verdict(path: str | Path) -> Path:
    """While this file exists, `BadDecoder` fails on ``path``."""
    return Path(path).with_name(f".{Path(path).name}.fails")
