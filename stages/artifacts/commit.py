"""Committing a shard: data file, rejects, and last the manifest, whose presence is the commit."""

from __future__ import annotations

from collections.abc import Sequence

from stages.artifacts import atomic, dropping, manifest
from stages.artifacts.layout import Artifact
from stages.outcome import Outcome
from stages.stage import WrittenShard


class RepairRefusedError(ValueError):
    """A repaired shard would lose videos that the damaged one had."""


def commit(
    artifact: Artifact,
    shard: str,
    written: WrittenShard,
    outcomes: Sequence[Outcome],
    upstream: str = "",
    replace: bool = False,
) -> manifest.Footer:
    """Publish a finished temporary shard.

    A shard that is committed already (by another run on the same store, whose bytes are the same) stays as
    it is, unless ``replace`` asks for a repair, which re-commits shard and manifest together. A shard
    that was dropped after use is made anew in the same way, and counts as dropped until all of it is there.

    Raises:
        RepairRefusedError: if a repair would reject a video that had a result. A dropped shard has nothing
            left to lose: a video whose file is gone since then becomes a reject.
        StoreError: if the store can't be written.
    """
    footer = manifest.Footer(
        shard, upstream, written.bytes, written.sha256, [manifest.outcome_entry(o) for o in outcomes]
    )
    target = artifact.manifest(shard)
    if target.exists():
        if not replace:
            written.path.unlink(missing_ok=True)
            return manifest.read_footer(target)
        if not artifact.dropped_mark(shard).exists():
            _refuse_loss(artifact, shard, footer, written)
    atomic.publish(written.path, artifact.shard(shard))
    rejects = manifest.encode_rejects(footer.outcomes)
    if rejects is not None:
        atomic.write_bytes(artifact.rejects(shard), rejects)
    elif replace:
        artifact.rejects(shard).unlink(missing_ok=True)
    atomic.write_bytes(target, manifest.encode(written.rows, footer))
    if not artifact.shard(shard).exists() and not artifact.dropped_mark(shard).exists():
        target.unlink(missing_ok=True)  # after a pause as long as death ``--gc`` took the shard in between
        raise atomic.removed(artifact.shard(shard))
    if replace:
        dropping.keep(artifact, shard)
    return footer


def _refuse_loss(artifact: Artifact, shard: str, new: manifest.Footer, written: WrittenShard) -> None:
    """Refuse a repair after which fewer videos have a result; a damaged manifest can't be compared."""
    try:
        old = manifest.read_footer(artifact.manifest(shard))
    except ValueError:
        return
    had = {o["video"] for o in old.outcomes if o["status"] == "done"}
    has = {o["video"] for o in new.outcomes if o["status"] == "done"}
    lost = sorted(had - has)
    if lost:
        written.path.unlink(missing_ok=True)
        raise RepairRefusedError(
            f"shard {shard} of {artifact.root} can't be repaired: {len(lost)} of its videos no longer give a "
            f"result, first {lost[0]!r}; bring their files back and repeat --verify --repair"
        )
