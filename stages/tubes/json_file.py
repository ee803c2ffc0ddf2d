"""Large JSON files in pieces, of which memory holds one entry at a time."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from stages.artifacts import atomic

Part = Iterable[Mapping[str, Any]] | Callable[[], Any]
"""A list that is written entry by entry; or a value that is asked for when all before it is written."""


def listed(items: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """A JSON list in pieces, one item a line."""
    before = "["
    for item in items:
        yield before + json.dumps(item, separators=(",", ":"))
        before = ",\n"
    yield "[]" if before == "[" else "]"


def document(parts: Mapping[str, Part]) -> Iterator[str]:
    """A JSON object in pieces, its values in the order of ``parts``."""
    before = "{"
    for key, part in parts.items():
        yield f"{before}{json.dumps(key)}: "
        if callable(part):
            yield json.dumps(part())
        else:
            yield from listed(part)
        before = ",\n"
    yield "}\n"


def write(path: Path, pieces: Iterable[str]) -> None:
    """Write ``pieces`` to ``path``, atomically.

    Raises:
        StoreError: there is no room or no right to write.
    """
    with atomic.store_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    temp = atomic.temp_path(path)
    try:
        with atomic.store_errors(path), temp.open("w", encoding="utf-8") as file:
            file.writelines(pieces)
    except BaseException:
        temp.unlink(missing_ok=True)
        raise
    atomic.publish(temp, path)
