"""Gates: where a run stands still until its test lets it go on, so that it is in the middle for sure.

A gate is a hidden file beside what it belongs to, say a video. While it is there, whoever comes by waits,
having left a byte in another hidden file, so that a test knows of it. Who waits says that it is alive.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

POLL_S = 0.01
HELD = Path(__file__).with_name("held")
"""Python loads the ``sitecustomize.py`` of a folder on its path: this one's holds renames at gates."""
FOLDER = "TUBEFLOW_TEST_GATES"


class Gates:
    """Some gates that are opened together; see `shut`."""

    def __init__(self, paths: tuple[Path, ...], after: int) -> None:
        self._paths, self._after = paths, after

    def shut(self) -> None:
        """Forget who came by before, and let everyone wait from now on, but for the first ``after``."""
        for path in self._paths:
            gate, arrivals = _files(path)
            arrivals.unlink(missing_ok=True)
            gate.write_text(str(self._after))

    def open(self) -> None:
        """Let everyone go on, the waiting and the coming."""
        for path in self._paths:
            _files(path)[0].unlink(missing_ok=True)

    @property
    def arrivals(self) -> list[int]:
        """How many have come by, at each gate."""
        found = []
        for path in self._paths:
            arrivals = _files(path)[1]
            found.append(arrivals.stat().st_size if arrivals.exists() else 0)
        return found

    @property
    def reached(self) -> bool:
        """Whether someone waits, or has waited, at each of them; there has to be one."""
        return bool(self._paths) and all(count > self._after for count in self.arrivals)


@contextlib.contextmanager
def shut(*paths: Path, after: int = 0) -> Iterator[Gates]:
    """Within, gates at ``paths`` are shut, until they are opened; afterwards they are gone.

    Args:
        after: so many may pass first.
    """
    gates = Gates(paths, after)
    gates.shut()
    try:
        yield gates
    finally:
        gates.open()
        for path in paths:
            _files(path)[1].unlink(missing_ok=True)


def pass_by(path: Path, alive: Callable[[], None] = lambda: None) -> None:
    """Wait while there is a gate at ``path``, calling ``alive`` now and then."""
    gate, arrivals = _files(path)
    if not gate.exists():
        return
    with arrivals.open("ab") as file:
        file.write(b".")
        number = file.tell()
    while _holds(gate, number):
        alive()
        time.sleep(POLL_S)


def _holds(gate: Path, number: int) -> bool:
    try:
        return number > int(gate.read_text() or 0)
    except FileNotFoundError:
        return False


def _files(path: Path) -> tuple[Path, Path]:
    return path.with_name(f".{path.name}.gate"), path.with_name(f".{path.name}.arrivals")


@contextlib.contextmanager
def held_before(step: int, folder: Path) -> Iterator[tuple[Gates, dict[str, str]]]:
    """A gate before a training's checkpoint of ``step``, and the environment of whom it holds.

    Args:
        folder: for the gate; whoever in that environment gives something a name passes by its gate there.
    """
    with shut(folder / f"step-{step:08d}") as gate:
        yield gate, {"PYTHONPATH": str(HELD), FOLDER: str(folder)}
