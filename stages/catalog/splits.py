"""Names of splits as the settings ``data.split`` and ``data.scored`` give them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from stages.catalog.errors import CatalogError


def split_names(value: str | None) -> list[str] | None:
    """The names in ``value``, joined by ``+`` or ``,`` there; None for all of them (None or ``all``)."""
    if value in (None, "all"):
        return None
    return [name.strip() for name in re.split(r"[+,]", value or "")]


def refuse_unknown(setting: str, names: Sequence[str], known: Sequence[str], where: str) -> None:
    """Make sure that every one of ``names`` is known.

    Raises:
        CatalogError: one is not; tells what ``where`` (the root, a folder) has.
    """
    for name in names:
        if name not in known:
            has = ", ".join([*known, "all"])
            raise CatalogError(f"{where} has no {name!r} for {setting}={'+'.join(names)}; it has {has}")


def refuse_unscored(scored: str, split: str | None, count: int) -> None:
    """Make sure that something is left to be scored.

    Raises:
        CatalogError: none of the listed videos belongs to what ``data.scored`` names.
    """
    if count == 0:
        raise CatalogError(
            f"data.scored={scored} has no video among those of data.split={split or 'all'}: "
            "widen data.split or set data.scored=all"
        )
