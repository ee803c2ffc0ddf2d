"""Fixtures that tests of several packages share."""

from __future__ import annotations

import pytest

from tests.measured import Measured, measured_run


@pytest.fixture(scope="session")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Measured:
    """One small measured run, made when a test first asks for it."""
    return measured_run(tmp_path_factory.mktemp("measured"))
