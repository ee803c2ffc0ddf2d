"""Pieces of HTML that all parts of a page are made of."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape


def section(title: str, body: str) -> str:
    """A part of the page with its heading; ``body`` is HTML."""
    return f"<section><h2>{escape(title)}</h2>{body}</section>"


def table(columns: Sequence[str], rows: Iterable[str], titles: Mapping[str, str] | None = None) -> str:
    """A sortable table; ``rows`` are HTML, ``titles`` explain columns."""
    heads = "".join(
        f"<th scope='col' title='{escape((titles or {}).get(name, ''), quote=True)}'>"
        f"<button type='button'>{escape(name)}</button></th>"
        for name in columns
    )
    body = "".join(rows)
    return (
        f"<div class='card scroll'><table class='sortable'><thead><tr>{heads}</tr></thead>"
        f"<tbody>{body}</tbody></table></div>"
    )


def percent(value: float | None) -> str:
    """A share, times 100; a dash for none and for what is no number."""
    return "–" if value is None or not math.isfinite(value) else f"{100 * value:.1f}"


def capped(count: int, most: int) -> str:
    """What is said above a list of which only the first ``most`` are shown."""
    return f"<p class='soft'>The first {most} of {count:,}.</p>" if count > most else ""
