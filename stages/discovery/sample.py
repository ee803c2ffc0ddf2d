"""The videos that a training on a sample of the corpus sees. Imports no torch.

The sample depends on the corpus alone, not on the order of runs or on workers: whole shards of the catalog
in the order of a hash of their names, until they hold enough videos, so that only their features have to be
there; of these videos the first ones in the order of a hash of their ids.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence

import pyarrow as pa

from stages.artifacts import lineage
from stages.artifacts.layout import Artifact
from stages.artifacts.ledger import Ledger, current_videos


def sampled_shards(catalog: Ledger, videos: int) -> set[str]:
    """The catalog's shards that a sample of ``videos`` videos is drawn from; all if they hold no more."""
    counts = Counter(catalog.with_status("done")["shard"].cast(pa.string()).to_pylist())
    taken: set[str] = set()
    total = 0
    for shard in sorted(counts, key=_drawn):
        if total >= videos:
            break
        taken.add(shard)
        total += counts[shard]
    return taken


def sample_of(candidates: Sequence[str], catalog: Artifact, features: Artifact, videos: int) -> list[str]:
    """The ``videos`` first of the ``candidates`` that lie in the sampled shards, sorted; fewer if there are
    no more."""
    shards = sampled_shards(Ledger.load(catalog), videos)
    found = current_videos(features)
    names = zip(found["video"].to_pylist(), found["shard"].to_pylist(), strict=True)
    wanted = set(candidates)
    there = [video for video, shard in names if video in wanted and lineage.root(shard) in shards]
    return sorted(sorted(there, key=_drawn)[:videos])


def _drawn(name: str) -> bytes:
    """A digest that depends on ``name`` alone, and not the one that draws the videos held out."""
    return hashlib.sha256(f"sample {name}".encode()).digest()
