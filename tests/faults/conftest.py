"""A corpus and the store of an undisturbed run, shared by the tests and changed by none of them."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import cli
from tests.faults.decoders import GATED
from tests.media import make_corpus

VIDEOS, FRAMES, PER_SHARD = 8, 6, 2


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight small videos."""
    return make_corpus(tmp_path_factory.mktemp("corpus") / "videos", VIDEOS, frames=FRAMES)


class Command:
    """The arguments of a ``features`` run on the corpus, two videos per shard, that waits at gates."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def __call__(self, store: Path, *more: object, runner: str = "local") -> list[object]:
        options = ["--set", f"layout.shard_videos={PER_SHARD}", "--set", GATED, "--runner", runner]
        return cli.features(self.root, store, *options, *more)


@pytest.fixture(scope="session")
def command(corpus: Path) -> Command:
    return Command(corpus)


@pytest.fixture(scope="session")
def video(corpus: Path) -> Callable[[int], Path]:
    """A video of the corpus by its number; `PER_SHARD` neighbours are a shard, and gates go beside them."""
    return lambda number: corpus / f"clip_{number:02d}.mp4"


@pytest.fixture(scope="session")
def reference(command: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store of one undisturbed run with one local worker."""
    store = tmp_path_factory.mktemp("reference") / "store"
    cli.run(*command(store))
    return store


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A folder whose path is short enough for Ray's sockets."""
    with tempfile.TemporaryDirectory(prefix="tf", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def open_corpus(corpus: Path) -> Iterator[Path]:
    """A copy of the corpus (same modification times) that every user can read."""
    with open_temporary() as folder:
        shutil.copytree(corpus, folder / "videos", copy_function=shutil.copy2)
        yield folder / "videos"


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A temporary folder that every user may fill."""
    with open_temporary() as folder:
        yield folder


@contextlib.contextmanager
def open_temporary() -> Iterator[Path]:
    """As `open_folder`; pytest's own folders are closed to other users."""
    with tempfile.TemporaryDirectory(prefix="tubeflow-test-") as name:
        folder = Path(name)
        (folder / "home").mkdir()
        for place in (folder, folder / "home"):
            place.chmod(0o777)
        yield folder
