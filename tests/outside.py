"""Data from outside the project: where it lies, and what happens to a test where it does not.

``TUBEFLOW_TEST_DATA`` (default: ``../shared`` beside the project) holds ``data/clips``,
``data/davis2016_mini``, ``weights`` and ``golden``. A test that needs some of it skips with a reason where it
is absent, or fails when ``TUBEFLOW_REQUIRE_DATA=1``.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[1]


def test_data() -> Path:
    return Path(os.environ.get("TUBEFLOW_TEST_DATA") or PROJECT.parent / "shared")


test_data.__test__ = False  # type: ignore[attr-defined]


def outside(*parts: str) -> Path:
    """The path of ``parts`` below the outside data; skips (or fails) the calling test where it is absent."""
    path = test_data().joinpath(*parts)
    if not path.exists():
        reason = f"needs outside data: {'/'.join(parts)} is not under TUBEFLOW_TEST_DATA"
        if os.environ.get("TUBEFLOW_REQUIRE_DATA") == "1":
            pytest.fail(reason + " and TUBEFLOW_REQUIRE_DATA=1")
        pytest.skip(reason)
    return path


def listed(*parts: str, pattern: str) -> list[Path]:
    """Files below the outside data for parametrising; empty where it is absent."""
    folder = test_data().joinpath(*parts)
    return sorted(folder.glob(pattern)) if folder.exists() else []
