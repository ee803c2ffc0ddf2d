"""The figures that a metrics stage left behind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from stages.artifacts import whole

METRICS_JSON = "metrics.json"


def read_metrics(folder: str | Path) -> dict[str, Any] | None:
    """The content of ``metrics.json`` in the artifact in ``folder``; None where there is none (yet)."""
    found = whole.current(Path(folder))
    if found is None or not (found[0] / METRICS_JSON).is_file():
        return None
    content: dict[str, Any] = json.loads((found[0] / METRICS_JSON).read_text())
    return content
