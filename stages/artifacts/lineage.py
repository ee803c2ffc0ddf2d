"""Which shard a shard was made from: names say it, so that a worker finds what lies above its items."""

from __future__ import annotations


def above(shard: str) -> str:
    """The shard of the stage before from which ``shard`` was made.

    Raises:
        ValueError: for a shard of a first stage.
    """
    upstream, dash, _ = shard.rpartition("-")
    if not dash:
        raise ValueError(f"shard {shard} is of a first stage: nothing is above it")
    return upstream


def at(shard: str, level: int) -> str:
    """The shard of stage ``level`` (0: the first) from which ``shard`` descends, or ``shard`` itself.

    Raises:
        ValueError: for a shard of an earlier stage.
    """
    parts = shard.split("-")
    if len(parts) <= level:
        raise ValueError(f"shard {shard} is of a stage before number {level}")
    return "-".join(parts[: level + 1])


def root(shard: str) -> str:
    """The shard of the first stage from which ``shard`` descends."""
    return shard.partition("-")[0]
