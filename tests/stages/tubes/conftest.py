"""Named tubes that this package's tests share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.named import named_artifact
from tests.stages.tubes.making import make_store, random_segmentation


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tubes that nothing has named: up to four in two videos."""
    videos = {"a": random_segmentation(0), "b": random_segmentation(3, frames=4, slots=5)}
    return make_store(tmp_path_factory.mktemp("plain") / "t", videos).root


@pytest.fixture(scope="session")
def named(plain: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, named; see `tests.named`."""
    return named_artifact(plain, tmp_path_factory.mktemp("named") / "t")
