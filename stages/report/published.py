"""Published figures, to stand beside measured ones (methods sheet 2.8 and 11)."""

from __future__ import annotations

from collections.abc import Iterable

from stages.report.page.model import MetricRow

SOLV = "SOLV, NeurIPS 2023"

PUBLISHED: dict[str, tuple[tuple[str, str, dict[str, float]], ...]] = {
    "solv_ytvis": (
        ("SOLV, published", SOLV, {"miou@solv": 0.4532, "fgari@solv": 0.2911}),
        ("DINOv2 and spectral clustering, published", SOLV, {"miou@solv": 0.2817, "fgari@solv": 0.1619}),
    ),
    "solv_davis": (
        ("SOLV on DAVIS-2017 val, published", SOLV, {"miou@solv": 0.3016, "fgari@solv": 0.3215}),
        ("DINOv2 and spectral clustering, published", SOLV, {"miou@solv": 0.1434, "fgari@solv": 0.2419}),
    ),
    "solv_movi_e": (
        ("SOLV, published", SOLV, {"fgari@frame": 0.808}),
        ("DINOSAUR, published by SOLV", SOLV, {"fgari@frame": 0.651}),
    ),
}
"""By recipe: name, source and figures of each row."""


def published_rows(recipe: str, protocols: Iterable[str]) -> list[MetricRow]:
    """The rows that have a figure in one of ``protocols``."""
    wanted = list(protocols)
    rows = []
    for name, source, values in PUBLISHED.get(recipe, ()):
        shown = {protocol: values[protocol] for protocol in wanted if protocol in values}
        if shown:
            rows.append(MetricRow(name, shown, published=True, source=source))
    return rows
