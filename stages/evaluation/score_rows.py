"""Reading an artifact of scores: the rows that count, and apart from them the evidence, which is long."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from stages.artifacts.layout import Artifact
from stages.artifacts.ledger import Ledger
from stages.artifacts.place import Place, parts_of_file
from stages.evaluation.scores_stage import SCORES_SCHEMA

EVIDENCE = "evidence"
ROWS_SCHEMA = pa.schema([field for field in SCORES_SCHEMA if field.name != EVIDENCE])

Evidence = dict[str, list[np.ndarray]]
"""By candidate the evidence of its videos, float64 (rows, columns) each, videos sorted."""


def current_scores(folder: str | Place) -> pa.Table:
    """All rows of `ROWS_SCHEMA` that count, shard by shard; superseded results are left out."""
    return pa.concat_tables([ROWS_SCHEMA.empty_table(), *_current(folder, ROWS_SCHEMA)])


def current_evidence(folder: str | Place, protocol: str) -> Evidence:
    """The evidence of one protocol on boxes, tubes or words. Memory holds that of one protocol, and of the
    others a shard's."""
    found: dict[tuple[str, str], np.ndarray] = {}
    for table in _current(folder, SCORES_SCHEMA, pc.field("protocol") == protocol):
        places = zip(table["candidate"].to_pylist(), table["video"].to_pylist(), strict=True)
        found |= dict(zip(places, evidence_arrays(table[EVIDENCE].combine_chunks()), strict=True))
    result: Evidence = {}
    for candidate, video in sorted(found):
        result.setdefault(candidate, []).append(found[candidate, video])
    return result


def evidence_arrays(column: pa.Array) -> list[np.ndarray]:
    """The entries of a column of evidence, float64 (rows, columns) each; none is null."""
    if isinstance(column, pa.ChunkedArray):  # pyarrow leaves chunks where there are none or too much to join
        return [one for chunk in column.chunks for one in evidence_arrays(chunk)]
    rows = column.flatten()
    values = rows.flatten().to_numpy(zero_copy_only=False)
    ends = rows.offsets.to_numpy() - rows.offsets[0].as_py()
    starts = np.cumsum([0, *pc.list_value_length(column).to_pylist()]).tolist()
    return [values[ends[a] : ends[b]].reshape(b - a, -1) for a, b in pairwise(starts)]


def _current(folder: str | Place, schema: pa.Schema, only: pc.Expression | None = None) -> Iterator[pa.Table]:
    """Of every committed shard the rows that count, in the order of the shards' names."""
    artifact = Artifact.at(folder)
    done = Ledger.load(artifact).with_status("done")
    wanted: dict[str, set[str]] = {}
    for video, shard in zip(
        done["video"].to_pylist(), done["shard"].cast(pa.string()).to_pylist(), strict=True
    ):
        wanted.setdefault(shard, set()).add(video)
    for shard, videos in sorted(wanted.items()):
        table = pq.read_table(parts_of_file(artifact.shard(shard)), columns=schema.names, filters=only)
        yield table.filter(pc.is_in(table["video"], pa.array(sorted(videos)))).cast(schema)
