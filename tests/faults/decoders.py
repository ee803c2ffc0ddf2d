"""Decoders registered by their import path: one that waits at gates, one that misbehaves on chosen files.

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
from stages.decode.decoders.pyav_ import PyAVDecoder
from stages.decode.demux import Tick
from tests.faults.gates import pass_by

GATED = "decode.decoder=tests.faults.decoders:GatedDecoder"
BAD = "decode.decoder=tests.faults.decoders:BadDecoder"


class GatedDecoder(AutoDecoder):
    """Waits before the first frame of a video whose gate is shut."""

    def __init__(self, path: str, clock: float | None, tick: Tick) -> None:
        super().__init__(path, clock, tick)
        self._alive = tick

    def pictures(self, wanted: Sequence[int], size: tuple[int, int] | None = None) -> Iterator[Picture]:
        pass_by(Path(self._path), self._alive)
        yield from super().pictures(wanted, size)


class BadDecoder(PyAVDecoder):
    """Crashes, hangs, grows or fails on files called so; leaves one byte per try in a file beside them.

    It is PyAV alone, for decord takes its time to be imported, which a slow machine would count as a hang.
    """

    def first(self) -> Picture:
        return next(super().pictures([0]))

    def pictures(self, wanted: Sequence[int], size: tuple[int, int] | None = None) -> Iterator[Picture]:
        name = Path(self._path).name
        with tries(self._path).open("ab") as file:
            file.write(b".")
        pass_by(Path(self._path), self._tick)
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
                self._tick()
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
