"""How a source is called in messages, which are stored and so must not depend on where it lies."""

from __future__ import annotations

import re
from pathlib import Path

_RECORD = re.compile(r"(.*\.tfrecord-\d{5}-of-\d{5})#(\d+)", re.DOTALL)


def shown_name(path: str) -> str:
    """The last part of ``path`` as printable text, whatever its bytes."""
    name = Path(path).name or path
    readable = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in readable)


def split_record(path: str) -> tuple[str, int] | None:
    """File and offset that ``<file>.tfrecord-XXXXX-of-YYYYY#<offset>`` names; None for another path."""
    found = _RECORD.fullmatch(path)
    return None if found is None else (found[1], int(found[2]))


def file_of(path: str) -> str:
    """The file or folder that has to be there for the source ``path``: of a record, its file."""
    record = split_record(path)
    return path if record is None else record[0]
