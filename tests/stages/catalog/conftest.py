"""Folders that another user can look into, and running something as that user."""

import multiprocessing
import os
import shutil
import tempfile
from pathlib import Path

import pytest

_NOBODY = 65534


@pytest.fixture
def public_folder():
    """A folder for tests of file modes; pytest's own folders are closed to other users."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    for path in folder.rglob("*"):
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o755)
    shutil.rmtree(folder)


def _as_nobody(connection, function, arguments):
    if os.getuid() == 0:
        os.setgroups([])
        os.setgid(_NOBODY)
        os.setuid(_NOBODY)
    connection.send(function(*arguments))


@pytest.fixture
def as_user():
    """Call a function in a forked child that file modes hold for: as another user, when this one is root."""

    def call(function, *arguments):
        here, there = multiprocessing.Pipe()
        child = multiprocessing.get_context("fork").Process(
            target=_as_nobody, args=(there, function, arguments)
        )
        child.start()
        there.close()
        result = here.recv()
        child.join()
        return result

    return call
