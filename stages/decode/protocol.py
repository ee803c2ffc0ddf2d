"""Messages between a decoder child and its parent, over a socket of their own.

A message is a small pickled header, optionally followed by the bytes of one array. Nothing else writes to the
socket, so what C libraries print can't disturb it.
"""

from __future__ import annotations

import pickle
import socket
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

_LENGTHS = struct.Struct("<IQ")


class ClosedError(Exception):
    """The other side is gone."""


class Link:
    """One end of the socket; a header is any small picklable value."""

    def __init__(self, end: socket.socket) -> None:
        self.socket = end

    def send(self, header: Any, array: NDArray[np.uint8] | None = None) -> None:
        """Write one message; waits while the other side doesn't read.

        Raises:
            ClosedError: if the other side is gone.
        """
        head = pickle.dumps(header)
        payload = array.data.cast("B") if array is not None else memoryview(b"")
        try:
            self.socket.sendall(_LENGTHS.pack(len(head), payload.nbytes) + head)
            self.socket.sendall(payload)
        except OSError as error:
            raise ClosedError from error

    def receive(self) -> tuple[Any, NDArray[np.uint8]]:
        """Read one message: its header and its bytes (uint8, flat).

        Raises:
            ClosedError: if the other side is gone, also in the middle of a message.
        """
        head, size = _LENGTHS.unpack(self._read(np.empty(_LENGTHS.size, np.uint8)).data)
        header = pickle.loads(self._read(np.empty(head, np.uint8)).data)
        return header, self._read(np.empty(size, np.uint8))

    def wait(self) -> None:
        """Called before each read; a subclass gives up here."""

    def _read(self, into: NDArray[np.uint8]) -> NDArray[np.uint8]:
        view, done = into.data, 0
        while done < len(view):
            self.wait()
            try:
                got = self.socket.recv_into(view[done:])
            except OSError as error:
                raise ClosedError from error
            if not got:
                raise ClosedError
            done += got
        return into

    def close(self) -> None:
        """Close this end."""
        self.socket.close()
