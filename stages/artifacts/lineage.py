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


def root(shard: str) -> str:
    """The shard of the first stage from which ``shard`` descends."""
    return shard.partition("-")[0]
