"""The figures that a metrics stage left behind."""

from __future__ import annotations

import json
from typing import Any

from stages.artifacts import whole
from stages.artifacts.place import Place, place

METRICS_JSON = "metrics.json"


def read_metrics(folder: str | Place) -> dict[str, Any] | None:
    """The content of ``metrics.json`` in the artifact in ``folder``; None where there is none (yet)."""
    found = whole.files(place(folder))
    if found is None or not (found / METRICS_JSON).is_file():
        return None
    content: dict[str, Any] = json.loads((found / METRICS_JSON).read_text())
    return content
