"""How a source is called in messages, which are stored and so must not depend on where it lies."""

from __future__ import annotations

from pathlib import Path


def shown_name(path: str) -> str:
    """The last part of ``path`` as printable text, whatever its bytes."""
    name = Path(path).name or path
    readable = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in readable)
