"""Commands run by someone who may not read and write everything, also where the tests run as root."""

from __future__ import annotations

import ctypes
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.faults.processes import run_after
from tests.outside import PROJECT

NOBODY = 65534
_CAPABILITY_DAC_OVERRIDE, _CAPABILITY_DAC_READ_SEARCH = 1, 2
_PR_CAPBSET_DROP = 24


def another_user() -> Callable[[], None] | None:
    """What a child has to do before it starts, for ``preexec_fn``; None where the tests are not root.

    It becomes user 65534; where the interpreter lies in a folder that only root may enter, it stays the
    files' owner but gives up root's right to ignore modes, which comes to the same for every path below.
    """
    if os.geteuid() != 0:
        return None
    return _be_nobody if _open_to_all(Path(sys.executable)) and _open_to_all(PROJECT) else _be_ordinary


def run_as_another(folder: Path, *args: object, code: int) -> subprocess.CompletedProcess[str]:
    """`pipelines/run.py` by a user whose home is ``folder / "home"``."""
    home = str(folder / "home")
    return run_after(another_user(), *args, code=code, HOME=home, TMPDIR=home)


def _open_to_all(path: Path) -> bool:
    real = [path.resolve(), *path.resolve().parents, *path.absolute().parents]
    return all(place.stat().st_mode & stat.S_IXOTH for place in real)


def _be_nobody() -> None:
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)


def _be_ordinary() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    for capability in (_CAPABILITY_DAC_OVERRIDE, _CAPABILITY_DAC_READ_SEARCH):
        if libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0):
            raise OSError(ctypes.get_errno(), "prctl(PR_CAPBSET_DROP)")
