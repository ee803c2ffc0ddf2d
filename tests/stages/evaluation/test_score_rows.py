"""Evidence as it is stored, and as it is read again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

from stages.artifacts.commit import commit
from stages.artifacts.layout import Artifact, ShardLayout, start
from stages.artifacts.table_writer import ParquetShardWriter
from stages.evaluation.score_rows import ROWS_SCHEMA, current_evidence, current_scores, evidence_arrays
from stages.evaluation.scores_stage import SCORES_SCHEMA
from stages.outcome import Done

VIDEOS = ("c", "a", "b")


def evidence(video: str, candidate: str) -> np.ndarray:
    """One to three rows, with a NaN; different everywhere."""
    rows = np.arange(3.0 * (VIDEOS.index(video) + 1)).reshape(-1, 3) + ord(video) + len(candidate)
    rows[0, 1] = np.nan
    return rows


def test_evidence_comes_back_by_candidate_with_videos_sorted(tmp_path: Path) -> None:
    """Two shards; a video whose result was superseded counts once."""
    artifact = Artifact(tmp_path / "scores", "scores", ".parquet")
    start(artifact, {"kind": "scores", "name": "scores"}, ShardLayout())
    for shard, videos in (("000000-00", VIDEOS[:2]), ("000000-01", VIDEOS[2:])):
        writer = ParquetShardWriter(artifact.shard(shard).with_suffix(".tmp"), shard, SCORES_SCHEMA)
        for video in videos:
            for candidate in ("one", "named"):
                common = {"video": video, "candidate": candidate, "object": None}
                writer.add({**common, "protocol": "mbo@video", "value": 0.5, "evidence": None})
                rows = list(evidence(video, candidate))
                writer.add({**common, "protocol": "map50@vol", "value": None, "evidence": rows})
            writer.keep(video)
        commit(artifact, shard, writer.finish(), [Done(video) for video in videos], "000000")
    found = current_evidence(artifact.root, "map50@vol")
    assert set(found) == {"one", "named"}
    for candidate, arrays in found.items():
        assert len(arrays) == 3
        for video, rows in zip(sorted(VIDEOS), arrays, strict=True):
            np.testing.assert_array_equal(rows, evidence(video, candidate))
    assert current_evidence(artifact.root, "corloc@vol") == {}
    light = current_scores(artifact.root)
    assert light.schema.equals(ROWS_SCHEMA) and light.num_rows == 12 and light["value"].null_count == 6


def test_slices_of_a_column() -> None:
    column = pa.array(
        [[[1.0, 2.0]], [[3.0, 4.0], [5.0, 6.0]], [[7.0, 8.0]]], SCORES_SCHEMA.field("evidence").type
    )
    assert [rows.tolist() for rows in evidence_arrays(column.slice(1))] == [[[3, 4], [5, 6]], [[7, 8]]]
    assert [rows.shape for rows in evidence_arrays(pa.chunked_array([column, column.slice(2)]))] == [
        (1, 2), (2, 2), (1, 2), (1, 2),
    ]  # fmt: skip
