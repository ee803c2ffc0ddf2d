"""What the processes of a training tell the run that started them: their errors, and figures now and then."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping

from stages.artifacts import atomic
from stages.artifacts.atomic import StoreError
from stages.artifacts.layout import FormatError
from stages.artifacts.manifest import DamagedError
from stages.artifacts.place import Place
from stages.errors import SettingsError

KNOWN: dict[str, type[Exception]] = {
    error.__name__: error for error in (SettingsError, StoreError, FormatError, DamagedError)
}
"""Errors whose message is made for users. Trying again helps against none of them."""


class Problem:
    """The error that ended a training, in a file that all its processes see.

    Args:
        folder: where the training's files are made; it is not published after an error.
    """

    def __init__(self, folder: Place) -> None:
        self._path = folder / ".problem"

    @property
    def told(self) -> bool:
        """Whether a process has met one."""
        return self._path.exists()

    @property
    def known(self) -> bool:
        """Whether it is one of `KNOWN`."""
        return self.told and json.loads(self._path.read_text())[0] in KNOWN

    def tell(self, error: Exception) -> None:
        """Keep ``error``, one of `KNOWN`, with its message."""
        name = next(name for name, kind in KNOWN.items() if isinstance(error, kind))
        atomic.write_bytes(self._path, json.dumps([name, str(error)]).encode())

    def tell_bug(self, text: str) -> None:
        """Keep the traceback ``text`` of any other error, unless one was told before."""
        if not self.told:
            atomic.write_bytes(self._path, json.dumps(["", text]).encode())

    def raise_told(self) -> None:
        """Raise what was told, if anything was.

        Raises:
            SettingsError, StoreError, FormatError, DamagedError: as a process raised it.
            RuntimeError: another error; the message is its traceback.
        """
        if self.told:
            name, text = json.loads(self._path.read_text())
            raise KNOWN.get(name, RuntimeError)(text)


class Seldom:
    """Passes figures on at most every ``seconds``, in all processes of a training at the same calls.

    Ray Train takes a report only every two seconds and blocks the training until then; and it waits until all
    processes have reported. So the first process decides by its clock, and the others follow.

    Args:
        send: takes the figures.
        seconds: the shortest time between two calls of ``send``.
    """

    def __init__(self, send: Callable[[dict[str, float]], None], seconds: float = 5.0) -> None:
        self._send, self._seconds = send, seconds
        self._last = float("-inf")

    def __call__(self, figures: Mapping[str, float]) -> None:
        """Pass ``figures`` on if it is time; all processes have to call it together."""
        now = time.monotonic()
        if _first_says(now - self._last >= self._seconds):
            self._last = now
            self._send(dict(figures))


def _first_says(yes: bool) -> bool:
    """The first process's answer, in all of them."""
    import torch
    import torch.distributed as dist

    if not dist.is_initialized() or dist.get_world_size() == 1:
        return yes
    device = "cuda" if dist.get_backend() == "nccl" else "cpu"
    answer = torch.tensor([yes], dtype=torch.uint8, device=device)
    dist.broadcast(answer, 0)
    return bool(answer.item())
