"""Named tubes that this package's tests share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.measured import Measured
from tests.named import named_artifact


@pytest.fixture(scope="session")
def named(measured: Measured, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Named tubes of the measured run; see `tests.named`."""
    return named_artifact(measured.artifact("tubes"), tmp_path_factory.mktemp("named") / "clips")
