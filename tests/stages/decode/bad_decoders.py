"""Decoders registered like any other that misbehave on files whose names say so, and decode all others."""

from __future__ import annotations

import ctypes
import os
import time
from pathlib import Path

from stages.decode.decoders.pyav_ import PyAVDecoder
from tests.faults.gates import pass_by


class Bad(PyAVDecoder):
    """Misbehaves at frame 10 of files called ``segfault*``, ``hang*``, ``spin*``, ``grow*``, … ."""

    def pictures(self, wanted, size=None):
        for number, picture in enumerate(super().pictures(wanted, size)):
            if number == 10:
                self._misbehave(Path(self._path))
            yield picture

    def _misbehave(self, path):
        pass_by(path)
        kind = path.name.split("-")[0].split(".")[0]
        if kind == "segfault":
            ctypes.string_at(0)
        elif kind == "hang":
            time.sleep(3600)
        elif kind == "spin":
            # a C function that never lets go of the interpreter
            ctypes.PyDLL(None).sleep(3600)
        elif kind == "grow":
            hoard = []
            while True:
                hoard.append(b"x" * (8 << 20))
        elif kind == "raise":
            raise ArithmeticError("a bug in this decoder")
        elif kind == "exit":
            os._exit(7)
        elif kind == "once":
            marker = path.with_suffix(".tried")
            if not marker.exists():
                marker.touch()
                ctypes.string_at(0)


class Short(PyAVDecoder):
    """Gives fewer frames than it was asked for."""

    def pictures(self, wanted, size=None):
        yield from super().pictures(list(wanted)[: max(1, len(wanted) - 3)], size)


class Noisy(PyAVDecoder):
    """Prints to whatever is open, as C libraries do."""

    def pictures(self, wanted, size=None):
        for picture in super().pictures(wanted, size):
            for stream in (1, 2):
                os.write(stream, b"a line of a library\n" * 5000)
            yield picture
