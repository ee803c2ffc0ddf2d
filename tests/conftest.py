"""Fixtures that tests of several packages share."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.measured import Measured, measured_run


@pytest.fixture(scope="session")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Measured:
    """One small measured run, made when a test first asks for it."""
    return measured_run(tmp_path_factory.mktemp("measured"))


LONG = ("docs", "faults", "cluster", "object_stores", "e2e")
"""Folders whose files take long, longest first: begun last, one of them would be waited for alone."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first; within a file the order stays."""
    items.sort(key=_rank)


def _rank(item: pytest.Item) -> int:
    parts: Sequence[str] = item.path.parts
    return next((rank for rank, folder in enumerate(LONG) if folder in parts), len(LONG))
