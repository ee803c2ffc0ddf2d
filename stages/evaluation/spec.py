"""The config section ``metrics``: which protocols, which trivial rows. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass

from stages.errors import SettingsError


@dataclass(frozen=True)
class MetricsSpec:
    """What is measured.

    Raises:
        SettingsError: for a protocol or a trivial row that does not exist.
    """

    protocols: tuple[str, ...] = (
        "miou@solv",
        "fgari@solv",
        "fgari@frame",
        "fgari@video",
        "mbo@frame",
        "mbo@video",
    )
    """Named protocols, see docs/metrics.md."""
    baselines: tuple[str, ...] = ("one", "blocks", "kmeans")
    """Training-free methods that are scored beside the method on the same features: the trivial rows."""
    id_gap_bug: bool = False
    """The @solv protocols with the released evaluator's mistake for labels with gaps."""

    def __post_init__(self) -> None:
        from stages.discovery.registry import METHODS
        from stages.metrics.all_protocols import ALL_PROTOCOLS

        for name in self.protocols:
            if name not in ALL_PROTOCOLS:
                raise SettingsError(
                    f"metrics.protocols: there is no protocol {name!r}; there are {', '.join(ALL_PROTOCOLS)}"
                )
        for name in self.baselines:
            if name not in METHODS:
                raise SettingsError(f"metrics.baselines: there is no method {name!r}")
