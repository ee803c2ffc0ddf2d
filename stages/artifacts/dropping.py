"""Removing shards after use while their manifests stay, so that what was done stays known.

An empty mark is written before the shard is removed: killed between the two, a process leaves a shard that
counts as dropped and is removed by the next sweep. The mark goes once the shard has been made again.
"""

from __future__ import annotations

from collections.abc import Callable

from stages.artifacts import atomic
from stages.artifacts.layout import Artifact


def drop(artifact: Artifact, shard: str, wanted: Callable[[], bool] = lambda: False) -> bool:
    """Mark the committed ``shard`` as dropped and remove it; says whether it is gone. May be repeated.

    Args:
        wanted: asked after the mark is there and before the shard is removed: whether somebody else needs it.
            One who looks for marks only after saying so either sees the mark or is seen here.

    Raises:
        StoreError: the store can't be written.
    """
    mark = artifact.dropped_mark(shard)
    if not mark.exists():
        atomic.write_bytes(mark, b"")
        if wanted():
            keep(artifact, shard)
            return False
    with atomic.store_errors(artifact.shard(shard)):
        artifact.shard(shard).unlink(missing_ok=True)
    return True


def keep(artifact: Artifact, shard: str) -> None:
    """Take the mark of ``shard`` away, if it has one."""
    with atomic.store_errors(artifact.dropped_mark(shard)):
        artifact.dropped_mark(shard).unlink(missing_ok=True)
